package testarchive

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
)

// heavy are the largest members' shares of an archive's bytes; the others share the rest.
var heavy = [3]float64{0.50, 0.30, 0.15}

// minMember is the least size of a member: room for the header of a .sym.
const minMember = 600

// kind is one kind of member.
type kind struct {
	extension string
	share     float64 // of an archive's members, by count
	ratio     float64 // deflates by about that
}

// kindsOf returns the kinds of a mix; the first ones get the most bytes.
func kindsOf(mix Mix) ([]kind, error) {
	switch mix {
	case RealMix:
		return []kind{
			{".sym", 0.41, symRatio}, {".dbg.gz", 0.19, 1}, {".pd_", 0.18, 1},
			{".ex_", 0.10, 1}, {".dl_", 0.08, 1}, {".tar.bz2", 0.04, 1},
		}, nil
	case PlainMix:
		return []kind{{".sym", 0.40, symRatio}, {".pdb", 0.30, 1.7}, {".dll", 0.20, 1.7}, {".exe", 0.10, 1.7}}, nil
	case OnlySym:
		return []kind{{".sym", 1, symRatio}}, nil
	}
	return nil, fmt.Errorf("unknown mix %q", mix)
}

// symRatio is a .sym's deflate ratio at level 6.
const symRatio = 4.5

// plan decides on the members: names, sizes and makers of content.
func plan(spec Spec) ([]Member, error) {
	kinds, err := kindsOf(spec.Mix)
	if err != nil {
		return nil, err
	}
	if spec.Members < 1 || spec.Bytes/int64(spec.Members) < minMember/8 {
		return nil, fmt.Errorf("%d bytes are too few for %d members", spec.Bytes, spec.Members)
	}
	random := rand.New(rand.NewPCG(spec.Seed, 10))
	shares := sharesOf(spec.Members, random)
	counts := make([]int, len(kinds))
	members := make([]Member, 0, spec.Members+1)
	for i, share := range shares {
		k := leastServed(kinds, counts, i+1)
		counts[k]++
		ratio := kinds[k].ratio
		if spec.Store || spec.Format == Tar {
			ratio = 1
		}
		size := max(int64(share*float64(spec.Bytes)*ratio), minMember)
		members = append(members, newMember(i, kinds[k].extension, size, spec.Version, random))
	}
	if spec.Listing {
		members = append(members, listing(members))
	}
	return members, nil
}

// sharesOf divides 1 among n members.
func sharesOf(n int, random *rand.Rand) []float64 {
	shares := make([]float64, n)
	total := 0.0
	for i := range shares {
		if i < len(heavy) {
			shares[i] = heavy[i]
		} else {
			shares[i] = 0.05 * (0.2 + random.ExpFloat64()) / (1.2 * float64(n-len(heavy)))
		}
		total += shares[i]
	}
	for i := range shares {
		shares[i] /= total
	}
	return shares
}

// leastServed returns the kind that lags behind its share of n members most.
func leastServed(kinds []kind, counts []int, n int) int {
	best, most := 0, -1.0
	for i, k := range kinds {
		if lag := (k.share*float64(n) - float64(counts[i])) / k.share; lag > most {
			best, most = i, lag
		}
	}
	return best
}

// newMember makes up the i-th member. Windows and Linux take turns where a kind exists on both.
func newMember(i int, extension string, size int64, version uint64, random *rand.Rand) Member {
	seed := random.Uint64()
	content := seed + version
	module := fmt.Sprintf("%s%s%d", strings.ToLower(stems[seed&63]), strings.ToLower(suffixes[seed>>6&15]), i)
	debugID := fmt.Sprintf("%016X%016X%X", random.Uint64(), random.Uint64(), i%2)
	m := Member{Size: size, content: func(w io.Writer) error { return opaque(w, content, size, extension) }}
	switch extension {
	case ".sym":
		debugFile, file := "lib"+module+".so", "lib"+module+".so.sym"
		if i%2 == 0 {
			debugFile, file = module+".pdb", module+".sym"
		}
		m.Name = debugFile + "/" + debugID + "/" + file
		m.CodeID = codeID(content, debugFile)
		m.content = func(w io.Writer) error { return Sym(w, content, size, debugFile, debugID) }
	case ".dbg.gz":
		m.Name = "lib" + module + ".so/" + debugID + "/lib" + module + ".so.dbg.gz"
	case ".tar.bz2":
		m.Name = module + "/" + debugID + "/" + module + ".dSYM.tar.bz2"
	case ".pd_", ".pdb":
		m.Name = module + ".pdb/" + debugID + "/" + module + extension
	default: // named by code id: a time and the image's size
		image := map[string]string{".ex_": ".exe", ".exe": ".exe", ".dl_": ".dll", ".dll": ".dll"}[extension]
		m.Name = fmt.Sprintf("%s%s/%08X%X/%s%s", module, image, uint32(random.Uint64()), size&^0xfff|0x1000, module, extension)
	}
	return m
}

// listing names the members, as build systems do.
func listing(members []Member) Member {
	var text strings.Builder
	for _, m := range members {
		text.WriteString(m.Name + "\n")
	}
	return Member{
		Name: "target-symbols.txt", Size: int64(text.Len()), Ignored: true,
		content: func(w io.Writer) error { _, err := io.WriteString(w, text.String()); return err },
	}
}
