// Package bench is what the benchmarks of a device have in common: samples, the statistics of pairs, tables and plots of
// them, and the counts that must not grow. The program that measures is tests/cmd/devbench, the one that prints is
// tests/cmd/benchreport. The package computes; it measures nothing.
//
// Times of a noisy machine mean little, and those of an emulated CPU nothing by themselves. So contenders take turns inside
// one boot, and what is reported is the median of the ratios of each round, with the quartiles beside it.
package bench
