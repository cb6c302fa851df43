package fetch

import (
	"context"
	"crypto/tls"
	"net"

	"tecken-upload/internal/background"
)

// endKey is the key of a request's download context.
type endKey struct{}

// withEnd returns the context of a download's requests, which carries the download's end. An http.Transport connects in a context that
// outlives the request and has only its values, since another request may use the connection. Here none does.
func withEnd(download context.Context) context.Context {
	return context.WithValue(download, endKey{}, download)
}

// dial makes connections.
type dial struct {
	dialer *net.Dialer
	config *tls.Config
}

// guarded calls connect. The http.Transport calls it in a goroutine of its own.
func (d *dial) guarded(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = background.Try(func() (err error) {
		conn, err = d.connect(ctx, network, address)
		return err
	})
	return conn, err
}

// connect connects to host:port with TLS. It ends with the download.
func (d *dial) connect(ctx context.Context, network, address string) (net.Conn, error) { //nolint:contextcheck // see withEnd
	if download, ok := ctx.Value(endKey{}).(context.Context); ok {
		ctx = download
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	tcp, err := d.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := d.config.Clone()
	config.ServerName = host
	conn := tls.Client(tcp, config)
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = tcp.Close() // the first error is returned
		return nil, err
	}
	return conn, nil
}
