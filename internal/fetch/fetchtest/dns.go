package fetchtest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
)

const (
	typeA    = 1
	typeAAAA = 28
	// dnsHeader is the length of a message's header, in bytes (RFC 1035, 4.1.1).
	dnsHeader = 12
)

// Resolver returns a resolver that asks answer for a name's addresses, of IPv4 or IPv6. A name without any does not exist. Nothing is
// cached. Several goroutines call answer.
func Resolver(answer func(name string, v6 bool) []netip.Addr) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go serve(there, answer)
		return here, nil
	}}
}

// serve answers the one question of a connection, as over TCP (RFC 1035, 4.2.2).
func serve(conn net.Conn, answer func(name string, v6 bool) []netip.Addr) {
	defer conn.Close()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, query); err != nil || len(query) < dnsHeader {
		return
	}
	reply := reply(query, answer)
	_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
}

func reply(query []byte, answer func(name string, v6 bool) []netip.Addr) []byte {
	name, end := question(query)
	kind := binary.BigEndian.Uint16(query[end:])
	var addresses []netip.Addr
	if kind == typeA || kind == typeAAAA {
		addresses = answer(name, kind == typeAAAA)
	}
	out := append([]byte{}, query[:2]...)
	out = append(out, 0x81, 0x80, 0, 1) // an answer, recursion and all; one question
	out = binary.BigEndian.AppendUint16(out, uint16(len(addresses)))
	out = append(out, 0, 0, 0, 0)
	out = append(out, query[dnsHeader:end+4]...)
	for _, a := range addresses {
		data := a.AsSlice()
		out = append(out, 0xC0, dnsHeader) // the question's name
		out = binary.BigEndian.AppendUint16(out, kind)
		out = append(out, 0, 1, 0, 0, 0, 0) // internet; may not be kept
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
		out = append(out, data...)
	}
	return out
}

// question returns the name in the question, and the offset of its type.
func question(query []byte) (name string, end int) {
	var labels []string
	at := dnsHeader
	for query[at] != 0 {
		n := int(query[at])
		labels = append(labels, string(query[at+1:at+1+n]))
		at += 1 + n
	}
	return strings.Join(labels, "."), at + 1
}
