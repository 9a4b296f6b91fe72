package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

func (e each) do(p *play) error {
	p.each = &e.text
	return nil
}

func (c crowd) do(p *play) error {
	if c.count >= large && p.target.settle != nil { // those of another crowd may still be open
		p.target.settle()
	}
	to, from := p.conn.plain.RemoteAddr().String(), p.conn.plain.LocalAddr().String()
	from = from[:strings.LastIndexByte(from, ':')]
	first := p.each
	p.each = nil
	members := make([]*conn, 0, c.count)
	for n := range c.count {
		if c.many {
			from = fmt.Sprintf("127.9.%d.%d", n/250, 1+n%250)
		}
		member, err := dial(to, from, p.bound)
		if err != nil {
			return fail("no connection: %v", err)
		}
		p.crowd, members = append(p.crowd, member), append(members, member)
		if first != nil {
			p.values["n"] = strconv.Itoa(n)
			member.plain.SetWriteDeadline(time.Now().Add(p.bound))
			member.plain.Write(append(first.fill(p.values), "\r\n"...)) // where it cannot be, the reply says why
		}
	}
	p.said.note("%d connections more", c.count)
	if c.pattern == nil {
		return nil
	}
	return c.greeted(p, members)
}

// greeted reads what each is told.
func (c crowd) greeted(p *play, members []*conn) error {
	wanted, some := c.of(p.target.strict), c.some == nil
	for _, member := range members {
		r, err := member.reply(p.bound)
		if errors.Is(err, errClosed) && wanted.closed {
			some = true
			continue
		}
		if err != nil {
			return hung("a connection of many: %v", err)
		}
		if _, ok := wanted.match(r); !ok {
			return fail("a connection of many is told %q, want %s", short(r.String()), wanted.text)
		}
		if c.some != nil {
			_, ok := c.some.match(r)
			some = some || ok
		}
	}
	if !some {
		return fail("none of %d connections was told %s", c.count, c.some.text)
	}
	return nil
}

// large is a crowd of which the server has not room for two.
const large = 1000

// manyFiles is how many a program has to be allowed to open for ten thousand connections.
const manyFiles = 16_000
