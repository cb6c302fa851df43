package lookup

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestAnswersAreBoundedInNumber(t *testing.T) {
	const most = 100
	c := newCache[int](most, func(bool, time.Duration, error) {})
	loads := 0
	get := func(key string) {
		t.Helper()
		if _, err := c.get(t.Context(), key, false, func(context.Context) (int, error) { loads++; return 0, nil }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 * most {
		get(fmt.Sprint(i))
		get("asked for all the time")
		if n := c.len(); n > most {
			t.Fatalf("%d answers", n)
		}
	}
	if loads != 10*most+1 {
		t.Errorf("%d lookups: what is asked for all the time was forgotten", loads)
	}
	c.clear()
	if n := c.len(); n != 0 {
		t.Errorf("%d answers are left", n)
	}
}
