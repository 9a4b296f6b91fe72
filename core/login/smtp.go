package login

import (
	"encoding/base64"
	"errors"

	"github.com/stagepost/stagepost/core/sasl"
	"github.com/stagepost/stagepost/core/smtp"
)

// Replies to AUTH (RFC 4954 section 6). They are never changed; the session gives those that others may read.
var (
	ReplyNone    = smtp.NewReply(502, "5.5.1", "nobody can log in here")
	ReplyTwice   = smtp.NewReply(503, "5.5.1", "bad sequence of commands, you are logged in")
	ReplyEncrypt = smtp.NewReply(538, "5.7.11", "to log in, say STARTTLS first")
	ReplyTooLong = smtp.NewReply(500, "5.5.6", "line too long")

	replyDone        = smtp.NewReply(235, "2.7.0", "logged in")
	replyUnsupported = smtp.NewReply(504, "5.5.4", "that mechanism is not offered")
	replyCancelled   = smtp.NewReply(501, "5.7.0", "the log-in is cancelled")
	replyLater       = smtp.NewReply(454, "4.7.0", "too many log-ins failed, try again later")
	replyTooMany     = smtp.NewReply(421, "4.7.0", "too many log-ins failed, closing the connection")
	replyBase64      = smtp.NewReply(501, "5.5.2", "that is no base64")
	replyMalformed   = smtp.NewReply(501, "5.5.2", "that is no message of the mechanism")
	replyRefused     = smtp.NewReply(535, "5.7.8", "the credentials are wrong")
)

var errBase64 = errors.New("no base64")

// decode reads a line of the client, or an initial response, where "=" stands for an empty one.
func decode(text string, initial bool) ([]byte, error) {
	if initial && text == "=" {
		return []byte{}, nil
	}
	response, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || initial && text == "" {
		return nil, errBase64
	}
	return response, nil
}

// request asks for the next message. One without text is "334 ", with the space.
func request(challenge []byte) smtp.Reply {
	return smtp.NewReply(334, "", base64.StdEncoding.EncodeToString(challenge))
}

func refusal(err error) smtp.Reply {
	switch err {
	case errBase64:
		return replyBase64
	case sasl.ErrMalformed:
		return replyMalformed
	}
	return replyRefused
}
