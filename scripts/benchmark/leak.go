package main

import "context"

func measureLeak(context.Context, *lab) ([]result, error) { return nil, nil }
