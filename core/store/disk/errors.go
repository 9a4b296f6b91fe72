package disk

import "errors"

// Errors of Open, to be told apart by errors.Is. Their text is for people; Open says which folder and what to do.
var (
	ErrInUse   = errors.New("is in use by another stagepost")
	ErrNewer   = errors.New("was written by a newer version")
	ErrCorrupt = errors.New("is damaged")
)
