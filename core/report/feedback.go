package report

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/stagepost/stagepost/core/message"
)

// feedback reads the one block of a feedback report (RFC 5965 section 3); nil where it does not say of which type it is.
func feedback(blocks []*message.Header) *Report {
	if len(blocks) == 0 || first(blocks[0], "Feedback-Type") == "" {
		return nil
	}
	h := blocks[0]
	word := func(name string) string { return strings.ToLower(firstWord(first(h, name))) }
	c := &Complaint{
		Type: word("Feedback-Type"), UserAgent: first(h, "User-Agent"), MailFrom: address(first(h, "Original-Mail-From")), Incidents: 1,
		Domains: list(h, "Reported-Domain"), URIs: list(h, "Reported-URI"), AuthResults: list(h, "Authentication-Results"),
		AuthFailure: word("Auth-Failure"), DeliveryResult: word("Delivery-Result"), DKIMDomain: word("DKIM-Domain"), DKIMSelector: word("DKIM-Selector"),
		SPFDNS: first(h, "SPF-DNS"), Alignment: first(h, "Identity-Alignment"),
	}
	if !slices.Contains([]string{"abuse", "fraud", "virus", "not-spam", "auth-failure"}, c.Type) {
		c.Type = "other"
	}
	if ip, err := netip.ParseAddr(firstWord(first(h, "Source-IP"))); err == nil && ip.Zone() == "" {
		c.SourceIP = ip.Unmap().String()
	}
	if n, err := strconv.ParseUint(firstWord(first(h, "Incidents")), 10, 31); err == nil && n > 0 {
		c.Incidents = int(n)
	}
	_, mta := typed(first(h, "Reporting-MTA"))
	r := &Report{Kind: Feedback, ReportingMTA: mta, EnvelopeID: first(h, "Original-Envelope-Id"), Feedback: c}
	for _, f := range h.Fields("Original-Rcpt-To") {
		if a := recipient(clean(f.Value, maxValue)); a != "" {
			r.add(Rcpt{Final: a})
		}
	}
	return r
}

// list is the values of the fields of one name, cut to what is told.
func list(h *message.Header, name string) (values []string) {
	for _, f := range h.Fields(name) {
		if v := clean(f.Value, maxValue); v != "" && len(values) < maxList {
			values = append(values, v)
		}
	}
	return values
}
