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
	return nil, false, nil
}

func (outside) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"X-A": {"b"}}, Body: io.NopCloser(strings.NewReader(r.Method + " " + string(body))), Request: r}, nil
}

func (outside) connect(context.Context, string) (net.Conn, error) {
	return nil, errors.New("nobody listens")
}
