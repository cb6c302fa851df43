package spool

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestForeignFS(t *testing.T) {
	for magic, want := range map[int64]bool{
		unix.NFS_SUPER_MAGIC: true, unix.SMB2_SUPER_MAGIC: true, unix.CEPH_SUPER_MAGIC: true,
		unix.FUSE_SUPER_MAGIC: false, unix.V9FS_MAGIC: false, unix.BTRFS_SUPER_MAGIC: false,
	} {
		if name, refuse := foreignFS(magic); refuse != want || name == "" {
			t.Errorf("%#x: %q, refused %v", magic, name, refuse)
		}
	}
	for _, magic := range []int64{unix.EXT4_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.XFS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC} {
		if name, _ := foreignFS(magic); name != "" {
			t.Errorf("%#x: %q", magic, name)
		}
	}
}

// TestWithoutTmpfile: a file that can't be made without a name loses it at once.
func TestWithoutTmpfile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.noTmpfile.Store(true)
	w, err := s.Create(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	f, err := w.Receive(t.Context(), strings.NewReader("x"), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, w.ID()))
	if err != nil || len(entries) != 1 || entries[0].Name() != manifestName {
		t.Errorf("in the workspace: %v, %v", entries, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Nlink != 0 {
		t.Errorf("%d names, %v", st.Nlink, err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
