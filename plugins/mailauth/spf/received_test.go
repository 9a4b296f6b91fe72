package spf

import (
	"strings"
	"testing"
)

func TestReceived(t *testing.T) {
	q := mail("joe@x.test")
	helo := q
	helo.Identity = Helo
	null := mail("")
	odd := mail(`"a\"(b) ` + "\u00e9" + `"@x.test`)
	odd.Helo, odd.Receiver = "a;b=c (\\ \"d\r\nX: y", ""
	long := mail(strings.Repeat("l", 600) + "@x.test")
	for _, tt := range []struct {
		q    Query
		v    Verdict
		want string
	}{
		{q, Verdict{Result: Pass, Mechanism: "ip4:192.0.2.1"}, `pass (mx.example.org: domain of joe@x.test designates 192.0.2.1 as permitted sender) receiver=mx.example.org; identity=mailfrom; client-ip=192.0.2.1; helo=mail.example.com; envelope-from="joe@x.test"; mechanism="ip4:192.0.2.1"`},
		{q, Verdict{Result: Fail, Mechanism: "-all"}, `fail (mx.example.org: domain of joe@x.test does not designate 192.0.2.1 as permitted sender) receiver=mx.example.org; identity=mailfrom; client-ip=192.0.2.1; helo=mail.example.com; envelope-from="joe@x.test"; mechanism=-all`},
		{null, Verdict{Result: Neutral, Mechanism: "default"}, `neutral (mx.example.org: 192.0.2.1 is neither permitted nor denied by domain of postmaster@mail.example.com) receiver=mx.example.org; identity=mailfrom; client-ip=192.0.2.1; helo=mail.example.com; envelope-from=""; mechanism=default`},
		{helo, Verdict{Result: Temperror, Problem: "x.test TXT: no answer"}, `temperror (mx.example.org: the DNS could not tell about mail.example.com) receiver=mx.example.org; identity=helo; client-ip=192.0.2.1; helo=mail.example.com; problem="x.test TXT: no answer"`},
		{helo, Verdict{Result: None}, `none (mx.example.org: mail.example.com does not provide an SPF record) receiver=mx.example.org; identity=helo; client-ip=192.0.2.1; helo=mail.example.com`},
		{odd, Verdict{Result: Permerror}, `permerror (unknown: the SPF record of domain of "a\\"\(b\) ?"@x.test cannot be used) receiver=unknown; identity=mailfrom; client-ip=192.0.2.1; helo="a;b=c (\\ \"d??X: y"; envelope-from="\"a\\\"(b) ?\"@x.test"`},
		{long, Verdict{Result: Softfail}, `softfail (mx.example.org: transitioning domain of ` + strings.Repeat("l", 397-len("mx.example.org: transitioning domain of ")) + `...) receiver=mx.example.org; identity=mailfrom; client-ip=192.0.2.1; helo=mail.example.com; envelope-from=` + strings.Repeat("l", 297) + `...`},
	} {
		got := tt.q.Received(tt.v)
		if tt.q.Sender == long.Sender { // dots at the end are no dot-atom
			tt.want = strings.Replace(tt.want, "envelope-from=", `envelope-from="`, 1) + `"`
		}
		if got != tt.want {
			t.Errorf("it is\n%s\nwant\n%s", got, tt.want)
		}
	}
}
