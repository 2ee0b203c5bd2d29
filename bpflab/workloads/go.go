// A program in Go: goroutines whose stacks grow, and so move while they are in use.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

//go:noinline
func add(a, b int) int {
	if a > 1000 {
		return a
	}
	return a + b
}

// deep needs more stack than a goroutine begins with: the runtime copies it to a larger place, return addresses and all.
//
//go:noinline
func deep(n int) int {
	var room [512]byte
	room[n%512] = byte(n)
	if n == 0 {
		return int(room[0])
	}
	return deep(n-1) + int(room[n%512])%2
}

//go:noinline
func work(n int) int {
	return add(n, 1) + deep(n%64)
}

func main() {
	rate := 100
	if len(os.Args) > 1 {
		rate, _ = strconv.Atoi(os.Args[1])
	}
	fmt.Println("running")
	for n := 0; ; n++ {
		done := make(chan int)
		go func(n int) { done <- work(n) }(n)
		<-done
		if rate > 0 {
			time.Sleep(time.Second / time.Duration(rate))
		}
	}
}
