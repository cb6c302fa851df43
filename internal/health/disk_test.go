package health

import (
	"os"
	"testing"
	"time"
)

func TestParsePressure(t *testing.T) {
	const text = "some avg10=0.00 avg60=1.50 avg300=0.00 total=1500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=21\n"
	got, err := parsePressure(text)
	if want := (Pressure{Some: 1500 * time.Millisecond, Full: 21 * time.Microsecond}); err != nil || got != want {
		t.Errorf("got %v, want %v (%v)", got, want, err)
	}
	for _, bad := range []string{"some avg10=0.00\n", "full total=x\n", "nonsense"} {
		if _, err := parsePressure(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// The working directory is on a disk wherever this is developed or tested; elsewhere the error says so.
func TestTrafficOfADevice(t *testing.T) {
	device, err := DeviceOf(".")
	if err != nil {
		if !os.IsNotExist(err) && device != "" {
			t.Fatal(err)
		}
		return
	}
	if read, written := device.Traffic(); read == 0 && written == 0 {
		t.Errorf("no byte was ever read from or written to %s", device)
	}
	if _, err := DeviceOf("/proc"); err == nil {
		t.Error("proc has a device")
	}
}
