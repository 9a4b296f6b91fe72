package resolve

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

const (
	rounds     = 2                // over all servers, for one question
	patience   = 20 * time.Second // for one question, all tries
	maxServers = 8
	maxStrays  = 1000 // packets to one socket that are not the reply
)

// Options of a Client; zero values are the defaults.
type Options struct {
	Servers  []string         // recursive resolvers, "ip" or "ip:port"; default: those of /etc/resolv.conf
	Timeout  time.Duration    // for one try at one server; default 3 s
	Cache    int              // entries kept; default 20,000; an answer counts once for each 512 bytes
	InFlight int              // questions asked at once, beyond which lookups fail; default 2,000, each with one socket
	TrustAD  bool             // believe the AD flag of servers that are not on this host
	Now      func() time.Time // the clock of the cache
}

// Client asks recursive resolvers. Its servers are alike: it begins with the one that answered last, so that a dead one costs one
// time-out and not one a question. A question outlives the caller that asked it, for up to 20 s: its answer serves the next.
type Client struct {
	servers []string
	timeout time.Duration
	trustAD bool
	first   atomic.Uint32 // index of the server to begin with
	cache   *cache
}

var _ Resolver = (*Client)(nil)

// New makes a Client. It reads the system's configuration, where that is asked for, but sends nothing.
func New(o Options) (*Client, error) {
	if len(o.Servers) == 0 {
		var err error
		if o.Servers, err = systemServers(resolvConf); err != nil {
			return nil, err
		}
	}
	if len(o.Servers) > maxServers {
		return nil, fmt.Errorf("[resolver] servers: %d are given, at most %d are used", len(o.Servers), maxServers)
	}
	c := &Client{
		timeout: cmp.Or(o.Timeout, 3*time.Second),
		trustAD: true,
	}
	for _, s := range o.Servers {
		addr, err := parseServer(s)
		if err != nil {
			return nil, err
		}
		c.servers = append(c.servers, addr.String())
		c.trustAD = c.trustAD && (addr.Addr().IsLoopback() || o.TrustAD)
	}
	now := o.Now
	if now == nil {
		now = time.Now
	}
	c.cache = newCache(cmp.Or(o.Cache, 20_000), cmp.Or(o.InFlight, 2_000), now)
	return c, nil
}

// Lookup implements Resolver.
func (c *Client) Lookup(ctx context.Context, name string, t Type) (Answer, error) {
	host, ok := canonical(name)
	if !ok {
		return Answer{Name: name, Status: NoDomain, TTL: maxNegative}, nil
	}
	if _, ok := t.shortest(); !ok {
		return Answer{}, cannotTell(host, t, errors.New("this type cannot be asked for"))
	}
	return c.cache.get(ctx, key{host, t}, c.ask)
}

// ask gets a fresh answer, following the DNS where a server gives a CNAME without its target.
func (c *Client) ask(ctx context.Context, k key) (Answer, error) {
	name, ttl, secure := k.name, time.Duration(maxTTL), true
	for range maxAliases + 1 {
		r, err := c.query(ctx, name, k.t)
		if err != nil {
			return Answer{}, cannotTell(k.name, k.t, err)
		}
		ttl, secure = min(ttl, r.TTL), secure && r.Authenticated && c.trustAD
		if !r.dangling {
			r.TTL, r.Authenticated = ttl, secure
			return r.Answer, nil
		}
		name = r.Name
	}
	return Answer{}, cannotTell(k.name, k.t, fmt.Errorf("more than %d CNAMEs, or a loop of them", maxAliases))
}

// query asks the servers in turn until one knows.
func (c *Client) query(ctx context.Context, name string, t Type) (reply, error) {
	first := int(c.first.Load())
	var last error
	for try := range rounds * len(c.servers) {
		i := (first + try) % len(c.servers)
		r, err := c.exchange(ctx, "udp", c.servers[i], name, t)
		if err == nil && r.truncated {
			r, err = c.exchange(ctx, "tcp", c.servers[i], name, t)
		}
		if err == nil {
			c.first.Store(uint32(i))
			return r, nil
		}
		last = fmt.Errorf("server %s: %w", c.servers[i], err)
		if ctx.Err() != nil {
			break
		}
	}
	return reply{}, last
}

// exchange sends one question and reads its reply. The socket is its own and connected, so a forged reply must guess its port
// beside the id, and name the same question.
func (c *Client) exchange(ctx context.Context, network, server, name string, t Type) (reply, error) {
	deadline := time.Now().Add(c.timeout)
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return reply{}, c.plain(err)
	}
	defer conn.Close()
	if earlier, ok := ctx.Deadline(); ok {
		deadline = earlier
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return reply{}, err
	}

	id := uint16(rand.Uint32()) // of a cryptographic generator
	packet, err := question(id, name, t)
	if err != nil {
		return reply{}, err
	}
	if network == "tcp" {
		return c.overTCP(conn, packet, id, name, t)
	}
	if _, err := conn.Write(packet); err != nil {
		return reply{}, c.plain(err)
	}
	buf := make([]byte, 4096)
	for range maxStrays {
		n, err := conn.Read(buf)
		if err != nil {
			return reply{}, c.plain(err)
		}
		if n < 12 || binary.BigEndian.Uint16(buf) != id {
			continue
		}
		if r, err := decode(buf[:n], name, t); !errors.Is(err, errStray) {
			return r, err
		}
	}
	return reply{}, errStray
}

// overTCP is the exchange with lengths before the packets (RFC 1035 section 4.2.2).
func (c *Client) overTCP(conn net.Conn, packet []byte, id uint16, name string, t Type) (reply, error) {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)); err != nil {
		return reply{}, c.plain(err)
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return reply{}, c.plain(err)
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return reply{}, c.plain(err)
	}
	if len(buf) < 12 || binary.BigEndian.Uint16(buf) != id {
		return reply{}, errStray
	}
	r, err := decode(buf, name, t)
	if err == nil && r.truncated {
		err = errors.New("the reply is cut, also over TCP")
	}
	return r, err
}

// plain says a time-out in words; the system's text names sockets and ports that help nobody.
func (c *Client) plain(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer in %v: %w", c.timeout, os.ErrDeadlineExceeded)
	}
	return err
}

// parseServer reads "ip", "ip:port" or "[ip]:port".
func parseServer(s string) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(ip, 53), nil
	}
	addr, err := netip.ParseAddrPort(s)
	if err != nil || addr.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("[resolver] servers: %q is not an IP address with or without a port, such as \"127.0.0.1:53\"", s)
	}
	return addr, nil
}
