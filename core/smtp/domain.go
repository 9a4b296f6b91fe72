package smtp

// ValidDomain tells whether s is a host name as paths may hold it (RFC 5321 4.1.2): letters, digits and inner hyphens, in
// labels of at most 63 octets, 255 in all, no dot at the end, not a number. Address literals are not.
func ValidDomain(s string) bool {
	c := scanner{s: s, enhanced: badRecipient}
	if c.peek() == '[' {
		return false
	}
	_, err := c.domain()
	return err == nil && c.i == len(s)
}
