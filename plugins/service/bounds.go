package service

// Bounds are what one call of a hook may ask of services, at most.
type Bounds struct {
	Questions   int // to the DNS
	Requests    int // by HTTP
	Response    int // bytes of the body of one answer
	Connections int // of net
	Received    int // bytes, over all of them
	Sent        int // likewise
	Injected    int // messages and parcels handed in
	Injecting   int // bytes of one that the plugin writes itself
}

// CallBounds are those that services keep.
func CallBounds() Bounds {
	return Bounds{
		Questions: maxCallLookups, Requests: maxRequests, Response: maxResponse, Connections: maxConns, Received: maxReceived, Sent: maxSent,
		Injected: maxInjects, Injecting: maxInjectMail,
	}
}
