// Idle stands in for a program that the lab has no real part of.
//
// It takes any arguments, says what it is, answers every HTTP request on its ports with its name and
// the name of the host, and ends when it is asked to.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Set when it is built: whom it stands in for, and the addresses it listens on, with commas between.
var name, listen string

func answer(connection net.Conn) {
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	lines := bufio.NewScanner(connection)
	for lines.Scan() && strings.TrimSpace(lines.Text()) != "" {
	}
	host, _ := os.Hostname()
	body := fmt.Sprintf("%s (stand-in of the isobuilder lab) on %s\n", name, host)
	fmt.Fprintf(connection, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"+
		"Connection: close\r\n\r\n%s", len(body), body)
}

func serve(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for {
		connection, err := listener.Accept()
		if err == nil {
			go answer(connection)
		}
	}
}

func main() {
	fmt.Printf("%s (stand-in of the isobuilder lab), called with %q\n", name, os.Args[1:])
	for _, argument := range os.Args[1:] {
		if argument == "--version" || argument == "-version" {
			return
		}
	}
	for _, address := range strings.Split(listen, ",") {
		if address != "" {
			go serve(address)
		}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
}
