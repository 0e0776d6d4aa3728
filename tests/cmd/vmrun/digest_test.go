package main

import (
	"strings"
	"testing"
)

func TestDigest(t *testing.T) {
	const log = "=== RUN   TestA\n--- PASS: TestA (0.10s)\n=== RUN   TestB\n=== RUN   TestB/x\n    b_test.go:3: wrong\n" +
		"--- FAIL: TestB (1.00s)\n    --- FAIL: TestB/x (1.00s)\n=== RUN   TestC\nSTUCK: TestC, for 8m0s\n"
	var all, said strings.Builder
	d := &digest{w: &all}
	for i := 0; i < len(log); i += 7 { // lines come in parts
		_, _ = d.Write([]byte(log[i:min(i+7, len(log))]))
	}
	d.say(&said)
	if all.String() != log {
		t.Errorf("passed on: %q", all.String())
	}
	if want := "--- FAIL: TestB (1.00s)\n    --- FAIL: TestB/x (1.00s)\nSTUCK: TestC, for 8m0s\nTestC had not ended\n"; said.String() != want {
		t.Errorf("said %q, want %q", said.String(), want)
	}
	for range 50 {
		_, _ = d.Write([]byte("--- FAIL: TestD (0s)\n"))
	}
	if len(d.found) != digestLines {
		t.Errorf("%d lines", len(d.found))
	}
}
