package service

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"testing"
)

// TestSpokeFirst: the error of net/http about a server that spoke before the request was on its way says that to people.
func TestSpokeFirst(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		conn.Read(make([]byte, 1)) // until the client gives the connection up
	}()
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { <-heard }})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{}}
	answer, err := client.Do(request)
	if err == nil {
		answer.Body.Close()
		t.Fatal("it was answered")
	}
	if got := requestError(ctx, err).Error(); got != "the server spoke before it was asked" {
		t.Errorf("the error is %q, of %v", got, err)
	}
}
