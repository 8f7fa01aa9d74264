// Reads a metrics page as the platform's scraper does, and prints the type and the number of series of each family.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func main() {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for name, family := range families {
		fmt.Println(name, strings.ToLower(family.GetType().String()), len(family.GetMetric()))
	}
}
