package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// decodeWhole reads one object, all of the body: only then does the HTTP server see its client go away.
func decodeWhole(body io.Reader, q any) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(q); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more than one object")
	}
	return nil
}

// decodeFirst reads the first object of a body, and answers when it is none.
func decodeFirst(w http.ResponseWriter, r *http.Request, q any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	dec.DisallowUnknownFields()
	err := dec.Decode(q)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(apiError{Error: err.Error()})
	}
	return err == nil
}
