package server

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"

	"github.com/labstack/echo/v4"

	"tecken-upload/internal/download"
)

// maxSizedGzip is up to which size, in bytes, a gzip stream's last four bytes are believed to tell of its inflated
// size: they count modulo 4 GiB.
const maxSizedGzip = 512 << 20

// getDebugInfo answers debuginfod's clients, gdb among them, with debug information. There are no sources here: those
// are a 404.
//
// Protocol: https://man7.org/linux/man-pages/man8/debuginfod.8.html
func (s *Server) getDebugInfo(c echo.Context) error { return s.sendBinary(c, download.DebugInfo) }

// getExecutable answers them with the program itself.
func (s *Server) getExecutable(c echo.Context) error { return s.sendBinary(c, download.Executable) }

func (s *Server) sendBinary(c echo.Context, kind download.Kind) error {
	r := c.Request()
	b, err := s.Symbols.Binary(r.Context(), pathComponents(r)[1], kind)
	if err != nil {
		return s.refuseDownload(c, err)
	}
	defer b.Close()
	size, err := inflatedSize(b)
	if err != nil {
		return s.refuseDownload(c, fmt.Errorf("measure %s: %w", b.Location.Key, err))
	}
	h := c.Response().Header()
	h.Set("X-Debuginfod-File", b.Location.Key.File())
	if size >= 0 {
		h.Set("X-Debuginfod-Size", strconv.FormatInt(size, 10))
	}
	plain := int64(-1)
	if b.Object.Gzip {
		plain = b.Object.Size
	}
	return s.send(c, payload{content: b, object: b.Object, gzip: b.Gzip, plain: plain, contentType: "application/octet-stream"})
}

// inflatedSize returns how many bytes b has as a client sees it, or -1 where nothing tells. Of a gzip stream it is what
// its trailer says: good enough for a progress bar, and for nothing else.
func inflatedSize(b *download.Binary) (int64, error) {
	stored, err := b.Seek(0, io.SeekEnd)
	switch {
	case err != nil:
		return 0, err
	case !b.Gzip:
		return stored, nil
	case b.Object.Gzip && b.Object.Size >= 0:
		return b.Object.Size, nil
	case stored > maxSizedGzip || stored < 4:
		return -1, nil
	}
	var trailer [4]byte
	if _, err := b.Seek(-4, io.SeekEnd); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(b, trailer[:]); err != nil {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint32(trailer[:])), nil
}
