package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stagepost/stagepost/core/deliver/tlsrpt"
	"github.com/stagepost/stagepost/core/resolve"
)

// checkTLSRPT looks at where a domain wants reports about TLS (RFC 8460 section 3).
func checkTLSRPT(ctx context.Context, r resolve.Resolver, domain string, found exchangers) []Finding {
	if found.null {
		return nil
	}
	name := "_smtp._tls." + domain
	texts, err := resolve.LookupTXT(ctx, r, name)
	if err != nil {
		return []Finding{unknown(TLSRPT, name, err)}
	}
	p := publish(textLine(name, "v=TLSRPTv1; rua=mailto:tls-reports@"+domain))
	records := textLines(name, texts)
	switch rua, err := tlsrpt.ParseRecord(texts); {
	case errors.Is(err, tlsrpt.ErrNoRecord):
		return []Finding{{TLSRPT, Advice, name, "there is no record, so nobody tells you when mail for the domain cannot be encrypted; name an address that takes reports", records, p}}
	case err != nil:
		p.Remove = records
		return []Finding{{TLSRPT, Wrong, name, fmt.Sprintf("%v, so no reports are sent", err), records, p}}
	default:
		return []Finding{{TLSRPT, OK, name, "reports go to " + strings.Join(rua, ", "), records, nil}}
	}
}
