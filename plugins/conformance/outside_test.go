package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
)

// outside is what secrets, http and net meet.
type outside struct{}

func (outside) Secret(name string) ([]byte, bool, error) {
	if name == "broken" {
		return nil, false, errors.New("there is no door")
	}
	if name == "dkim" {
		return []byte("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="), true, nil
	}
	return nil, false, nil
}

func (outside) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"X-A": {"b"}}, Body: io.NopCloser(strings.NewReader(r.Method + " " + string(body))), Request: r}, nil
}

// connect leads to a server that sends back what it gets, up to "end".
func (outside) connect(_ context.Context, where string) (net.Conn, error) {
	if where != "talk.example:7" {
		return nil, errors.New("nobody listens")
	}
	conn, server := net.Pipe()
	go func() {
		defer server.Close()
		buf := make([]byte, 64)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			if _, err := server.Write(buf[:n]); err != nil || strings.HasSuffix(string(buf[:n]), "end\n") {
				return
			}
		}
	}()
	return conn, nil
}
