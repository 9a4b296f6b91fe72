package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestHAProxy: behind HAProxy, which says with either version of its protocol whose a connection is, messages come from the client
// itself, and HAProxy's own checks of the server are sessions of its own address.
func TestHAProxy(t *testing.T) {
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("left out: haproxy is not installed")
	}
	for _, version := range []string{"send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"} {
		t.Run(version, func(t *testing.T) {
			sink := newSink(t)
			s := newSite(t, strings.Replace(relayConfig(sink.address), "role = \"mx\"\n", "role = \"mx\"\nproxy_protocol = [\"127.0.0.1\"]\n", 1))
			sv := s.start()
			front := freePort(t)
			s.write("haproxy.cfg", fmt.Sprintf(`defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
frontend mail
    bind %s
    default_backend servers
backend servers
    server one %s %s check check-send-proxy inter 200ms
`, front, sv.address("mx"), version))
			proxy := exec.Command(haproxy, "-db", "-f", s.path("haproxy.cfg"))
			proxy.Stderr = os.Stderr
			if err := proxy.Start(); err != nil {
				t.Fatal(err)
			}
			defer proxy.Wait()
			defer proxy.Process.Kill()
			var c *client
			eventually(t, "a session through HAProxy", func() (bool, any) {
				from := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 77)}}
				conn, err := from.Dial("tcp", front)
				if err != nil {
					return false, err
				}
				c = &client{conn, bufio.NewReader(conn)}
				greeting, err := c.read()
				if err != nil || !strings.HasPrefix(greeting, "220 ") {
					conn.Close()
					return false, fmt.Sprint(greeting, err)
				}
				return true, nil
			})
			defer c.conn.Close()
			c.want(t, "EHLO client.example", "250")
			c.deliver(t, "u@example.net", "<proxied@client.example>")
			sv.empty()
			sink.exactly([]string{"<proxied@client.example>"})
			time.Sleep(time.Second) // for some of its checks; one that failed would be in the log
			if n := sv.console.last(`"msg":"accepted"`); n < 0 || !strings.Contains(sv.console.since(0)[n], `"ip":"127.0.0.77"`) {
				t.Errorf("the log does not say that the message came from the client:\n%s", sv.console.tail(20))
			}
			if sv.console.last("a proxy's connection is closed") >= 0 {
				t.Errorf("a header of HAProxy was not taken:\n%s", sv.console.tail(20))
			}
			sv.stop()
		})
	}
}
