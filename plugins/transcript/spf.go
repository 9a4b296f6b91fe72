package transcript

import (
	"context"
	"slices"

	"github.com/stagepost/stagepost/core/resolve"
	"github.com/stagepost/stagepost/plugins/mailauth/spf"
)

// givenSPF is what spf.check answers, whatever the DNS says.
type givenSPF struct {
	identity    spf.Identity // "": both
	result      spf.Result
	explanation string
	whose       pattern // of the domain
}

var spfResults = []string{"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}

func spfLines() []Line {
	return []Line{{"given spf", `given spf [mail|helo] none|neutral|pass|fail|softfail|temperror|permerror ["EXPLANATION"] [PATTERN]`,
		"What spf.check answers, of the sender, of the HELO name or of both, whatever the DNS says; PATTERN is held against the domain. Of several that fit the latest counts; where none does, the records count that `given dns` gives.", parseSPF}}
}

func parseSPF(p *parser, rest string) action {
	list := p.words(rest, `given spf [mail|helo] RESULT ["EXPLANATION"] [PATTERN]`, 1, 4)
	if list == nil {
		return nil
	}
	g := &givenSPF{whose: newGlob("*")}
	identities := map[string]spf.Identity{"mail": spf.Mail, "helo": spf.Helo}
	if id, ok := identities[list[0].text]; ok && len(list) > 1 {
		g.identity, list = id, list[1:]
	}
	if !p.oneOf("result", list[0].text, spfResults) {
		return nil
	}
	g.result, list = spf.Result(list[0].text), list[1:]
	if len(list) > 0 && list[0].quoted {
		g.explanation, list = list[0].text, list[1:]
	}
	if g.explanation != "" && g.result != spf.Fail {
		p.fail("only a fail is explained")
		return nil
	}
	if len(list) > 0 && !list[0].quoted {
		g.whose, list = newGlob(list[0].text), list[1:]
	}
	if len(list) > 0 {
		p.fail("%q is too much; behind the result stand an explanation in quotes and one pattern", list[0].text)
		return nil
	}
	return g
}

func (g *givenSPF) do(r *run) error {
	r.outside.mu.Lock()
	defer r.outside.mu.Unlock()
	r.outside.senders = append(r.outside.senders, g)
	return nil
}

// spf is service.Options.SPF.
func (e *elsewhere) spf(ctx context.Context, dns resolve.Resolver, q spf.Query) spf.Verdict {
	domain := q.Domain()
	e.mu.Lock()
	given := slices.Clone(e.senders)
	e.mu.Unlock()
	for _, g := range slices.Backward(given) {
		if (g.identity == "" || g.identity == q.Identity) && g.whose.match(domain) {
			v := spf.Verdict{Result: g.result, Domain: domain, Explanation: g.explanation}
			switch g.result {
			case spf.None:
			case spf.Temperror, spf.Permerror:
				v.Problem = "the transcript says so"
			default:
				v.Mechanism = "given"
			}
			return v
		}
	}
	return spf.Check(ctx, dns, q)
}
