package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stagepost/stagepost/core/deliver/tlsrpt"
	"github.com/stagepost/stagepost/core/observe"
	"github.com/stagepost/stagepost/core/queue"
)

// Deadlines of a Client, for each wait on the server.
const (
	dialTime   = 5 * time.Second
	answerTime = time.Minute // a reload reads and compiles all plugins
)

const maxAnswer = 16 << 20 // bytes of an answer that is not a stream, and of one line of a stream

// Client asks a running server. It is safe for concurrent use.
type Client struct {
	config, socket string
	http           *http.Client
}

// NewClient makes a client of the server that runs with a data folder; config is the name of the configuration, for messages.
// Nothing is opened yet.
func NewClient(data, config string) *Client {
	c := &Client{config: config, socket: filepath.Join(data, SocketName)}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTime)
			defer cancel()
			return dial(ctx, c.socket)
		},
		ResponseHeaderTimeout: answerTime,
		DisableKeepAlives:     true,
		DisableCompression:    true,
	}}
	return c
}

// Unreachable is the error when no server answers.
type Unreachable struct {
	Config, Socket string
	Err            error
}

// Error says why, and what to do.
func (u *Unreachable) Error() string {
	switch {
	case errors.Is(u.Err, fs.ErrNotExist):
		return fmt.Sprintf("no server is running with %s (no socket at %s); start it with: stagepost serve", u.Config, u.Socket)
	case errors.Is(u.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no server is running with %s (nobody answers at %s; the last one did not end in order); start it with: stagepost serve", u.Config, u.Socket)
	case errors.Is(u.Err, fs.ErrPermission):
		return fmt.Sprintf("the server of %s can be asked only by the user it runs as: %s may not be opened; run this command as that user", u.Config, u.Socket)
	}
	return fmt.Sprintf("the server of %s does not answer at %s: %v", u.Config, u.Socket, u.Err)
}

// Unwrap gives the cause.
func (u *Unreachable) Unwrap() error { return u.Err }

// Status asks for the state of the server.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.get(ctx, "GET", "/status", &s)
}

// Reload makes the server read its configuration and plugins. A refusal is an *Error with status 422.
func (c *Client) Reload(ctx context.Context) (r Reloaded, err error) {
	return r, c.get(ctx, "POST", "/reload", &r)
}

// Plugins lists the plugins of the generation in force.
func (c *Client) Plugins(ctx context.Context) (p []Plugin, err error) {
	return p, c.get(ctx, "GET", "/plugins", &p)
}

// Order lists the hooks in the order they are asked.
func (c *Client) Order(ctx context.Context) (o []StageOrder, err error) {
	return o, c.get(ctx, "GET", "/order", &o)
}

// Message returns one message of the queue; an *Error with status 404 when it is not there.
func (c *Client) Message(ctx context.Context, id string) (m MessageDetail, err error) {
	return m, c.get(ctx, "GET", "/queue/"+url.PathEscape(id), &m)
}

// Queue yields the messages of the queue that the query chooses, oldest first, as they come. The error, if any, is the last thing
// yielded.
func (c *Client) Queue(ctx context.Context, query url.Values) iter.Seq2[Message, error] {
	return stream[Message](ctx, c, "/queue?"+query.Encode())
}

// Shape counts what the query chooses by name and age; the first line is the sum. "by" of the query is one of Shapes.
func (c *Client) Shape(ctx context.Context, query url.Values) iter.Seq2[Shape, error] {
	return stream[Shape](ctx, c, "/shape?"+query.Encode())
}

// Explain tells of a site, a domain, a next hop or a message; an *Error with status 404 when there is none.
func (c *Client) Explain(ctx context.Context, name string) (e Explained, err error) {
	return e, c.get(ctx, "GET", "/explain?name="+url.QueryEscape(name), &e)
}

// TLSResults yields how connections to others fared on a day, such as "2026-11-28"; "" is today.
func (c *Client) TLSResults(ctx context.Context, day string) iter.Seq2[tlsrpt.Summary, error] {
	return stream[tlsrpt.Summary](ctx, c, "/tlsrpt?day="+url.QueryEscape(day))
}

// Suspensions lists what is suspended.
func (c *Client) Suspensions(ctx context.Context) (s []queue.Suspension, err error) {
	return s, c.get(ctx, "GET", "/suspensions", &s)
}

// Measures lists the measures of plugins.
func (c *Client) Measures(ctx context.Context) (m []queue.Measure, err error) {
	return m, c.get(ctx, "GET", "/measures", &m)
}

// Suspend suspends what the query names, and returns that.
func (c *Client) Suspend(ctx context.Context, query url.Values) (s []queue.Suspension, err error) {
	return s, c.get(ctx, "POST", "/suspensions?"+query.Encode(), &s)
}

// Resume resumes what the query names, and returns that; an *Error with status 404 when it is not suspended.
func (c *Client) Resume(ctx context.Context, query url.Values) (s []queue.Suspension, err error) {
	return s, c.get(ctx, "DELETE", "/suspensions?"+query.Encode(), &s)
}

// Hand carries out a command by hand, for the messages with the ids, or for those that the query chooses, and yields what becomes of
// them as it comes. The error, if any, is the last thing yielded. What is done stays done when ctx ends; StopWork stops in order.
func (c *Client) Hand(ctx context.Context, verb queue.Verb, query url.Values, ids []string) iter.Seq2[Handled, error] {
	var content []byte
	if len(ids) > 0 {
		content, _ = json.Marshal(ids) // strings always can
	}
	return streamOf[Handled](ctx, c, "POST", "/queue/"+string(verb)+"?"+query.Encode(), content)
}

// StopWork stops a command by hand, which ends with its last line soon.
func (c *Client) StopWork(ctx context.Context, work uint64) error {
	return c.get(ctx, "DELETE", fmt.Sprintf("/command/%d", work), &struct{}{})
}

// Trace yields the steps of a message's record. The error, if any, is the last thing yielded: an *Error with status 404 when
// there is no record.
func (c *Client) Trace(ctx context.Context, id string) iter.Seq2[observe.Step, error] {
	return stream[observe.Step](ctx, c, "/trace/"+url.PathEscape(id))
}

func (c *Client) get(ctx context.Context, method, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	body, err := c.open(ctx, method, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(v); err != nil {
		return c.broken(err)
	}
	return nil
}

// open sends a request; an answer other than 200 is an error.
func (c *Client) open(ctx context.Context, method, path string, content []byte) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://stagepost"+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	if err != nil {
		if ctx.Err() == context.Canceled {
			return nil, ctx.Err()
		}
		return nil, &Unreachable{c.config, c.socket, err}
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	e := &Error{Status: resp.StatusCode}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(e); err != nil || e.Text == "" {
		e.Text, e.Hint = "the server answered "+resp.Status+" to "+method+" "+path, "the program and the server may be of different versions"
	}
	return nil, e
}

func (c *Client) broken(err error) error {
	return fmt.Errorf("the answer of the server at %s broke off or cannot be read: %w", c.socket, err)
}

// stream decodes JSON Lines. Its last line may be an error.
func stream[T any](ctx context.Context, c *Client, path string) iter.Seq2[T, error] {
	return streamOf[T](ctx, c, "GET", path, nil)
}

func streamOf[T any](ctx context.Context, c *Client, method, path string, content []byte) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		body, err := c.open(ctx, method, path, content)
		if err != nil {
			yield(none, err)
			return
		}
		defer body.Close()
		silence := time.AfterFunc(answerTime, cancel)
		defer silence.Stop()
		line := &io.LimitedReader{R: body}
		for dec := json.NewDecoder(line); ; {
			line.N = maxAnswer
			var raw json.RawMessage
			err := dec.Decode(&raw)
			if err == io.EOF {
				return
			}
			silence.Reset(answerTime)
			var v T
			if err == nil {
				err = decodeLine(raw, &v)
			}
			if e := (*Error)(nil); err != nil && !errors.As(err, &e) {
				err = c.broken(err)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

func decodeLine(raw json.RawMessage, v any) error {
	if strings.HasPrefix(string(raw[:min(len(raw), 10)]), `{"error":`) {
		e := &Error{Status: http.StatusInternalServerError}
		if err := json.Unmarshal(raw, e); err != nil {
			return err
		}
		return e
	}
	return json.Unmarshal(raw, v)
}
