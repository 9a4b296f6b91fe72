package dsn

import (
	"strconv"
	"strings"
)

// Status codes for what nobody gave a better one (RFC 3463).
const (
	statusFailed  = "5.0.0" // undefined, permanent
	statusDelayed = "4.0.0" // undefined, temporary
	statusExpired = "4.4.7" // delivery time expired
	statusDone    = "2.0.0"
)

// Status returns the status code of a recipient whose last reply had that code (0: there was none) and that enhanced code
// ("" for none). A failure after a temporary answer is one of time, whatever the answer was. A delay is never told with
// a permanent code, which some readers would act upon. Nothing is guessed from the reply code alone: 550 has been used for
// everything.
func Status(kind Kind, code int, enhanced string) string {
	if kind == Delivered || kind == Relayed || kind == Expanded {
		return statusDone
	}
	class, detail := splitStatus(enhanced)
	if code != 0 && class != code/100 {
		class, detail = code/100, ""
	}
	switch {
	case kind == Delayed && detail != "":
		return "4." + detail
	case kind == Delayed:
		return statusDelayed
	case class == 4:
		return statusExpired
	case class == 5 && detail != "":
		return "5." + detail
	}
	return statusFailed
}

// splitStatus returns the class, 4 or 5, and the rest of a status code, without leading zeros (RFC 3464 section 2.3.4);
// 0 for anything else.
func splitStatus(s string) (class int, detail string) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != "4" && parts[0] != "5" {
		return 0, ""
	}
	for _, p := range parts[1:] {
		n, err := strconv.ParseUint(p, 10, 64)
		if err != nil || len(p) > 3 {
			return 0, ""
		}
		detail += "." + strconv.FormatUint(n, 10)
	}
	return int(parts[0][0] - '0'), detail[1:]
}

// meaning puts a status code in plain words: why, and what the sender of a message that failed can do. Both are "" where
// the code says nothing that helps.
func meaning(status string) (why, advice string) {
	const (
		mistyped  = "Check the address for mistakes, and send the message again."
		otherWay  = "Reach the recipient another way."
		later     = "Send the message again later, or reach the recipient another way."
		smaller   = "Send less, or share what is attached another way."
		askServer = "If it is not clear why, ask the recipient, another way, to have it looked into."
		askUs     = "Ask the postmaster of this server, whose address is below."
	)
	_, detail := splitStatus(status)
	switch detail {
	case "1.1":
		return "There is no such mailbox.", mistyped
	case "1.2":
		return "The domain of the address does not exist, or has no mail server.", mistyped
	case "1.3":
		return "The address is not written as an address must be.", mistyped
	case "1.6":
		return "The mailbox has moved, and no new address is known.", otherWay
	case "1.10":
		return "The domain of the address does not take mail.", mistyped
	case "1.7", "1.8":
		return "Your own address, as the sender's, was not accepted.", askServer
	case "2.1":
		return "The mailbox is disabled and takes no mail.", otherWay
	case "2.2":
		return "The mailbox is full.", later
	case "2.3", "3.4":
		return "The message is too large.", smaller
	case "4.1", "4.2":
		return "The receiving mail server could not be reached, or broke off.", later
	case "4.3":
		return "The domain of the address could not be looked up.", later
	case "4.4":
		return "No way to the receiving mail server is known.", later
	case "4.6":
		return "The message went round in circles.", askUs
	case "4.7":
		return "It could not be delivered in the time allowed.", later
	case "6.7":
		return "The receiving mail server does not take addresses beyond plain letters.", otherWay
	}
	subject, _, _ := strings.Cut(detail, ".")
	switch subject {
	case "1":
		return "The address was not accepted.", mistyped
	case "2":
		return "The mailbox cannot take the message.", later
	case "3":
		return "The receiving mail system cannot take the message.", later
	case "4":
		return "The message could not be brought to the receiving mail server.", later
	case "5":
		return "The mail servers did not understand each other.", askUs
	case "6":
		return "The receiving mail server cannot handle a message of this form.", askServer
	case "7":
		return "The message was refused by a rule of the receiving mail server.", askServer
	}
	return "", ""
}
