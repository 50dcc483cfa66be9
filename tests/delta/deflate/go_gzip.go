// Compresses stdin to stdout at the level of the first argument, in writes of the sizes that follow;
// a size of 0 flushes.
package main

import (
	"compress/gzip"
	"io"
	"os"
	"strconv"
)

func main() {
	level, _ := strconv.Atoi(os.Args[1])
	data, _ := io.ReadAll(os.Stdin)
	out, err := gzip.NewWriterLevel(os.Stdout, level)
	if err != nil {
		panic(err)
	}
	for _, argument := range os.Args[2:] {
		size, _ := strconv.Atoi(argument)
		if size == 0 {
			out.Flush()
		}
		out.Write(data[:min(size, len(data))])
		data = data[min(size, len(data)):]
	}
	out.Write(data)
	out.Close()
}
