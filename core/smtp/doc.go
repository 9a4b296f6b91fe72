// Package smtp is the wire of RFC 5321 for both roles: the grammar of commands, paths and replies, and the framing of
// lines and of message content. It holds no session, opens no connection and decides nothing about mail.
//
// Everything rests on one rule: CRLF, and nothing else, ends a line, and CRLF "." CRLF, and nothing else, ends a
// message. Two programs that disagree about where a message ends can be made to see two messages where one was sent
// (SMTP smuggling), so no second form is ever honoured, corrected or guessed at. A command line with a stray CR, LF or
// NUL is an error and is not executed. Content with one is read up to its true end, then refused. What DataWriter
// sends holds none.
//
// A Reader takes lines and content out of a buffer that its caller attaches and, when nothing is buffered, may detach
// again: a session that waits holds no memory. How the bytes were cut into segments never changes a result.
//
// Errors that the peer caused hold the reply they deserve: errors.As with a Reply finds it, both in the Reply values
// that the parsers return and in a *Fault, which says what was wrong with the framing. All other errors come from the
// connection.
package smtp
