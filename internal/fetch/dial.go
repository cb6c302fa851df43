package fetch

import (
	"context"
	"crypto/tls"
	"net"

	"tecken-upload/internal/background"
)

// endKey is where a request's context has its download's.
type endKey struct{}

// withEnd makes the context of a download's requests, which has its end. An http.Transport connects in a context that outlives the request's and
// has its values alone: the connection is to be another request's. Here there is no other.
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

// connect connects to host:port, and speaks TLS with it. It ends with the download.
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
		_ = tcp.Close() // what went wrong is told
		return nil, err
	}
	return conn, nil
}
