// Command known writes a database of vulnerabilities for Grype into the folder that it is given,
// of what standard input has as JSON. Vulnerabilities are made up; nothing in it is known of any
// real package.
package main

import (
	"encoding/json"
	"log"
	"os"
	"time"

	v6 "github.com/anchore/grype/grype/db/v6"
)

type record struct {
	ID         string `json:"id"`
	Ecosystem  string `json:"ecosystem"` // as Grype has it, such as go-module
	Name       string `json:"name"`
	Constraint string `json:"constraint"` // such as "<1.2.3"
	OS         string `json:"os"`         // such as debian; nothing for a language
	Major      string `json:"major"`      // of the system
}

func main() {
	var records []record
	check(json.NewDecoder(os.Stdin).Decode(&records))
	database, err := v6.NewWriter(v6.Config{DBDirPath: os.Args[1]})
	check(err)
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	provider := v6.Provider{ID: "lab", Version: "1", Processor: "lab", DateCaptured: &day}
	for _, one := range records {
		vulnerability := v6.VulnerabilityHandle{
			Name:      one.ID,
			Status:    v6.VulnerabilityActive,
			Provider:  &provider,
			BlobValue: &v6.VulnerabilityBlob{ID: one.ID},
		}
		check(database.AddVulnerabilities(&vulnerability))
		affected := v6.AffectedPackageHandle{
			Vulnerability: &vulnerability,
			Package:       &v6.Package{Ecosystem: one.Ecosystem, Name: one.Name},
			BlobValue: &v6.PackageBlob{Ranges: []v6.Range{{
				Version: v6.Version{Constraint: one.Constraint},
			}}},
		}
		if one.OS != "" {
			affected.OperatingSystem = &v6.OperatingSystem{Name: one.OS, MajorVersion: one.Major}
		}
		check(database.AddAffectedPackages(&affected))
	}
	check(database.SetDBMetadata())
	check(database.Close())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
