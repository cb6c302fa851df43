package chaos

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tecken-upload/internal/lab"
)

var (
	seed   = flag.Uint64("seed", rand.Uint64(), "what happens follows from it; drawn where it is not given")
	faults = flag.Int("faults", 0, "play rounds until there were so many faults")
	kills  = flag.Int("kills", 0, "and so many of them were kill -9 of the server")
	budget = flag.Duration("time", time.Minute, "and for so long")
	length = flag.Duration("round", 8*time.Second, "how long clients upload in each round")
	first  = flag.Int("first", 0, "the number of the first round: with a seed, a round is played again")
)

// clients is how many upload at once.
const clients = 6

// A kind is a kind of site.
type kind struct {
	storage  lab.Storage
	database lab.Database
	redis    bool
}

// String implements fmt.Stringer.
func (k kind) String() string {
	text := fmt.Sprintf("%s, %s", k.storage, k.database)
	if k.redis {
		text += ", Redis"
	}
	return text
}

// kinds are those that rounds take in turn.
var kinds = []kind{
	{lab.Directory, lab.SQLite, false},
	{lab.MinIO, lab.PostgreSQL, true},
	{lab.Directory, lab.PostgreSQL, true},
	{lab.Versitygw, lab.SQLite, false},
}

// settings make time pass faster than in production.
var settings = map[string]string{
	"TECKEN_UPLOAD_TIMEOUT":        "20s",
	"TECKEN_RECEIVE_TIMEOUT":       "20s",
	"TECKEN_RECEIVE_STALL_TIMEOUT": "1s",
	"TECKEN_ADMISSION_WAIT":        "2s",
	"TECKEN_DISK_FULL_WINDOW":      "3s",
	"TECKEN_SHUTDOWN_TIMEOUT":      "300ms",
	"TECKEN_TENANT_STALE":          "4s",
	"TECKEN_SWEEP_INTERVAL":        "200ms",
}

func TestMain(m *testing.M) { os.Exit(lab.Run(m)) }

func TestChaos(t *testing.T) {
	t.Logf("seed %d", *seed)
	dir, err := os.MkdirTemp("", "tecken-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("kept, with the logs of rounds that failed: %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	begin := time.Now()
	all := make(map[kind]*tally)
	total := newTally()
	enough := func() bool { // the time is over where another round would go beyond it
		return sum(total.faults) >= *faults && total.faults[killed] >= *kills && time.Since(begin)+*length >= *budget
	}
	for n := *first; n == *first || !enough(); n++ {
		k := kinds[n%len(kinds)]
		one := newTally()
		passed := t.Run(fmt.Sprintf("round %d: %v", n, k), func(t *testing.T) {
			playRound(t, n, k, filepath.Join(dir, fmt.Sprintf("round-%d", n)), &one)
		})
		t.Logf("[%5.0f] round %d, %v: %v, passed %t", time.Since(begin).Seconds(), n, k, one, passed)
		if all[k] == nil {
			t := newTally()
			all[k] = &t
		}
		all[k].add(one)
		total.add(one)
	}
	t.Logf("seed %d, %d clients\n%s", *seed, clients, table(all))
}
