package main

import (
	"fmt"
	"slices"
	"strings"
)

// generated makes the cases that are too many to be written.
func generated(longest int) []*section {
	return []*section{neighbours(longest), octetsEverywhere()}
}

// neighbours are all sequences of CR, LF, NUL and dot up to a length, but those that end the content. Each stands in the middle of a
// content behind a line without its end, and at the start of the content; and where it has up to four octets, so that each of
// its cuts falls on the edge of a buffer that many servers have. What follows it is a transaction that must not be taken for one.
func neighbours(longest int) *section {
	heads := map[int]head{}
	sec := &section{number: "1.1g", title: "Neighbours of the end of data"}
	for n := 1; n <= longest; n++ {
		for x := range sequences(n) {
			all := []way{{kind: segment}, {kind: octets}, {kind: pause}}
			if n > 4 {
				all = all[:2] // the pauses would take minutes
			}
			sec.add(fmt.Sprintf("N %X", x), newHead(header+"text"), x, all)
			sec.add(fmt.Sprintf("N %X first", x), head{}, x, all[:1])
			if n > 4 {
				continue
			}
			for _, edge := range []int{4095, 4096, 65535, 65536} {
				for before := 1; before <= len(x); before++ {
					name := fmt.Sprintf("N %X with %d octets before octet %d", x, before, edge)
					if heads[edge-before].text == "" {
						heads[edge-before] = newHead(header + filler(edge-before))
					}
					sec.add(name, heads[edge-before], x, all[:1])
				}
			}
		}
	}
	return sec
}

// header is where the content of the generated cases begins; {token} makes its length that of every play.
const header = "Subject: {token}\r\n\r\n"

// filler is text of lines so long that header and filler together have so many octets, and the last line is not ended.
func filler(size int) string {
	size -= len(header) - len("{token}") + tokenLength
	const line = "a line of seventy octets, which are nothing but what fills a buffer"
	return strings.Repeat(line+"\r\n", size/(len(line)+2)-1) + strings.Repeat("x", size%(len(line)+2)+len(line)+2)
}

// sequences are those of n octets.
func sequences(n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		x := make([]byte, n)
		for k := range 1 << (2 * n) {
			for i := range x {
				x[i] = "\r\n\x00."[k>>(2*i)&3]
			}
			if !yield(slices.Clone(x)) {
				return
			}
		}
	}
}

// head is what stands before a sequence; nothing if the sequence follows DATA.
type head struct {
	text  string
	steps template
}

func newHead(text string) head {
	t, err := parseTemplate(text)
	if err != nil {
		panic(err)
	}
	return head{text, t}
}

// add makes a case of a sequence, unless that is the end of the content.
func (s *section) add(name string, before head, x []byte, ways []way) {
	const smuggled = "MAIL FROM:<{token}@evil.test>\r\nRCPT TO:<{to}>\r\nDATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\n"
	line := "\r\n" // what the sequence stands behind
	if before.text != "" {
		line = before.text[len(before.text)-1:]
	}
	if strings.Contains(line+string(x)+smuggled[:1], "\r\n.\r\n") {
		return
	}
	tail, err := parseTemplate(smuggled)
	if err != nil {
		panic(err)
	}
	steps := slices.Clone(opening())
	steps = append(steps, send{append(slices.Clone(before.steps), piece{octets: x}), 1}, mark{}, send{tail, 1}, want{mustPattern("250|5xx|closed")}, told{},
		send{template{{octets: []byte("QUIT\r\n")}}, 1}, rest{mustPattern("221")}, sender{template{{variable: "from"}}})
	s.cases = append(s.cases, &script{section: s.number, name: name, file: "generated", ways: ways, steps: steps, generated: true})
}

// opening is the dialogue up to the content.
func opening() []step {
	s, err := parse("opening", `section 0 the opening of a transaction
case opening
S: 220
C: EHLO client.test
S: 250
C: MAIL FROM:<{from}>
S: 250
C: RCPT TO:<{to}>
S: 250
C: DATA
S: 354
`)
	if err != nil {
		panic(err)
	}
	return s.cases[0].steps
}

func mustPattern(text string) *pattern {
	p, err := parsePattern(text)
	if err != nil {
		panic(err)
	}
	return p
}
