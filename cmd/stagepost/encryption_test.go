package main

import (
	"slices"
	"testing"

	"github.com/stagepost/stagepost/core/config"
	"github.com/stagepost/stagepost/core/message"
)

// TestTLSWords: the configuration knows the words that plans do.
func TestTLSWords(t *testing.T) {
	var words []string
	for _, w := range message.TLSWords() {
		words = append(words, string(w))
	}
	if !slices.Equal(words, config.TLSWords()) {
		t.Errorf("plans have %v, the configuration %v", words, config.TLSWords())
	}
}
