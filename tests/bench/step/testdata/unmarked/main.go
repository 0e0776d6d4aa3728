// Command unmarked marks nothing.
package main

func main() {}
