package memory_test

import (
	"testing"

	"github.com/stagepost/stagepost/core/store/memory"
	"github.com/stagepost/stagepost/core/store/storetest"
)

func TestSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, s storetest.Setup) storetest.Harness {
		return storetest.Harness{Store: memory.New(memory.Options{Budget: s.Budget, Patience: s.Patience})}
	})
}
