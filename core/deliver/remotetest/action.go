package remotetest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

func (c *Conn) act(stage, path string) bool {
	action, _ := c.action(stage, path)
	return c.do(action)
}

// action finds what happens at a stage; told means that the script says so.
func (c *Conn) action(stage, path string) (action string, told bool) {
	c.seen[stage]++
	for _, key := range []string{stage + " " + path, fmt.Sprintf("%s#%d", stage, c.seen[stage]), stage} {
		if action, told = c.script[key]; told {
			return action, true
		}
	}
	return good[stage], false
}

// do carries an action out and tells whether the connection goes on.
func (c *Conn) do(action string) bool {
	for step := range strings.SplitSeq(action, " | ") {
		word, rest, _ := strings.Cut(step, " ")
		if c.remote.Log != nil && step != "" {
			c.remote.Log(c, "S: "+strings.ReplaceAll(step, "\n", "\nS: "))
		}
		switch word {
		case "":
		case "close":
			return false
		case "reset":
			if tcp, ok := c.raw.(*net.TCPConn); ok {
				tcp.SetLinger(0)
				tcp.Close() // before anything says a polite good-bye
			}
			return false
		case "silent":
			c.hangs.Store(word)
			io.Copy(io.Discard, c.nc)
			return false
		case "stuck":
			c.hangs.Store(word)
			<-c.remote.done
			return false
		case "drip":
			for i := range len(rest) {
				if !c.wait(c.remote.Drip) || !c.write(rest[i:i+1]) {
					return false
				}
			}
			c.write("\r\n")
		case "trickle":
			for c.hangs.Store(word); c.wait(c.remote.Drip) && c.write(rest); {
			}
			return false
		case "delay":
			d, err := time.ParseDuration(rest)
			if err != nil || !c.wait(d) {
				return false
			}
		case "heard":
			if n, err := c.nc.Read(make([]byte, 16<<10)); n == 0 || err != nil {
				return false
			}
		case "raw":
			if !c.write(rest) {
				return false
			}
		case "flood":
			times, text, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(times)
			if err != nil || !c.write(strings.Repeat(text, n)) {
				return false
			}
		case "tls":
			if !c.handshake(rest) {
				return false
			}
		default:
			if !c.write(strings.ReplaceAll(step, "\n", "\r\n") + "\r\n") {
				return false
			}
		}
	}
	return true
}

func (c *Conn) write(s string) bool {
	_, err := io.WriteString(c.nc, s)
	return err == nil
}

// wait waits, unless the server ends.
func (c *Conn) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-c.remote.done:
		return false
	}
}

// handshake begins TLS. What the client said in clear after STARTTLS is forgotten with the session before.
func (c *Conn) handshake(kind string) bool {
	config, err := c.remote.config(kind)
	if err != nil {
		return false
	}
	t := tls.Server(c.nc, config)
	if t.Handshake() != nil {
		return false
	}
	c.mu.Lock()
	c.nc = t
	c.mu.Unlock()
	c.in = bufio.NewReaderSize(counted{c}, 64<<10)
	c.secured, c.greeted, c.open = true, false, false
	return true
}
