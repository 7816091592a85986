package ideal

import (
	"testing"

	"github.com/fragprof/fragprof/heapmodel/modeltest"
)

func TestConformance(t *testing.T) { modeltest.Run(t, Model, "ideal") }
