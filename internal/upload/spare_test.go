package upload

import "testing"

// Spare memory is bounded, in all and for a tenant with some; what is given back is there again, once.
func TestSpareMemory(t *testing.T) {
	var s spareMemory
	give := make(map[string]func())
	for _, step := range []struct {
		name   string
		bytes  int64
		tenant int64
		ok     bool
	}{
		{"too large", 101, 1, false},
		{"nothing", 0, 1, true},
		{"some", 20, 1, true},
		{"more", 30, 1, true},
		{"more than half", 1, 1, false},
		{"another's", 40, 2, true},
		{"-more", 30, 1, true},
		{"-more", 30, 1, true},
		{"more than there is", 41, 3, false},
		{"the rest", 40, 3, true},
		{"-nothing", 0, 1, true},
		{"-some", 20, 1, true},
		{"-another's", 40, 2, true},
		{"more than half, alone", 60, 2, true},
		{"-the rest", 40, 3, true},
		{"-more than half, alone", 60, 2, true},
	} {
		if step.name[0] == '-' {
			give[step.name[1:]]()
			continue
		}
		giveBack, ok := s.take(100, step.bytes, step.tenant)
		if ok != step.ok {
			t.Fatalf("%s: %t", step.name, ok)
		}
		give[step.name] = giveBack
	}
	if s.used != 0 || len(s.tenants) != 0 {
		t.Errorf("%d bytes are left in use, by %v", s.used, s.tenants)
	}
}
