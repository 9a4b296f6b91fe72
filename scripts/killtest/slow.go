package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// slowStart is how long a start may take before it is looked at.
const slowStart = time.Second

// waitsFor tells what the threads of a process wait for in the kernel, and how much of the machine all processes together have
// to wait for, where the kernel tells that.
func waitsFor(pid int) string {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", pid))
	count := map[string]int{}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			where := string(b)
			if where == "0" || where == "" {
				where = "running"
			}
			count[where]++
		}
	}
	var parts []string
	for where, n := range count {
		parts = append(parts, fmt.Sprintf("%d %s", n, where))
	}
	slices.Sort(parts)
	for _, f := range []string{"cpu", "io"} {
		if b, err := os.ReadFile("/proc/pressure/" + f); err == nil {
			line, _, _ := strings.Cut(string(b), " total")
			parts = append(parts, f+" pressure: "+line)
		}
	}
	return strings.Join(parts, ", ")
}
