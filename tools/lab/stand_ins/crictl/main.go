// Crictl stands in for the real one, of which Debian bookworm has no package.
//
// kubeadm's checks call it; it says yes to "info", claims to have every image that is asked for,
// lists nothing, and refuses what it cannot do, so that nobody takes it for the real one.
package main

import (
	"fmt"
	"os"
	"strings"
)

var version string // set when it is built

func main() {
	words := []string{}
	for index := 1; index < len(os.Args); index++ {
		argument := os.Args[index]
		switch {
		case argument == "-r" || argument == "-i" || argument == "--runtime-endpoint" ||
			argument == "--image-endpoint" || argument == "--timeout" || argument == "-t":
			index++
		case argument == "--version" || argument == "-v":
			words = append(words, "--version")
		case !strings.HasPrefix(argument, "-"):
			words = append(words, argument)
		}
	}
	command := strings.Join(words, " ")
	switch {
	case command == "--version" || command == "version":
		fmt.Printf("crictl version v%s (stand-in of the isobuilder lab)\n", version)
	case command == "info":
		fmt.Println(`{"status": {"conditions": []}, "standIn": true}`)
	case command == "images" || command == "ps" || command == "pods":
	case strings.HasPrefix(command, "inspecti "):
		fmt.Println(`{"standIn": true}`)
	default:
		fmt.Fprintf(os.Stderr, "crictl: stand-in of the isobuilder lab cannot do %q\n", command)
		os.Exit(1)
	}
}
