// Package esmtp holds what SMTP extensions say in words: which of them a session is offered, and what the parameters of MAIL
// and RCPT mean that come with them. The grammar of parameters is package smtp's; what is done about them is for those who
// hold the envelope, core/queue and core/deliver before all.
//
// The extensions are one table (offer.go). A row says what stands in the reply to EHLO, in which state of a session, and
// which parameters may be given for it. So a parameter is known exactly where its extension was announced: anywhere else it
// is 555, and one that is known and not well formed is 501.
//
// The envelope keeps parameters as they came. ParseMail and ParseRcpt read them where they are needed, so what they mean is
// said once, and a message that lies in the queue loses nothing when this package learns more.
package esmtp
