package admin

import "net/http"

// tlsrpt lists results of TLS.
func (h *handler) tlsrpt(w http.ResponseWriter, req *http.Request) error {
	results, err := h.TLS(req.URL.Query().Get("day"))
	if err != nil {
		return &Error{http.StatusBadRequest, err.Error(), ""}
	}
	out := lines{w: w}
	for i := range results {
		if err := out.line(&results[i]); err != nil {
			return out.end(err)
		}
	}
	return out.end(nil)
}
