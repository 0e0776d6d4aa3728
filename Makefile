# make demo   the main job: examples/demo.toml becomes block devices, a filesystem lives on one (here, or in a VM)
# make test   every test: lint, unit, race, fuzz smoke, end to end on two real kernels in a VM
#
# Both install what they need with apt-get. make test-unit needs no root, no VM and, once modules are cached, no network.

GO      ?= go
BIN     := $(CURDIR)/bin
VMRUN   := $(GO) run ./tests/cmd/vmrun
FUZZ    ?= 30000x
SOAK    ?= 2000
KERNEL  ?= all
RUN     ?= .
RESULTS ?= $(BIN)/e2e
BENCHDIR ?= /var/tmp
# Of bench-device: flags of devbench (BENCH=-quick, BENCH='-sets legs'), the kernel tree's selftest server to measure too, and
# other builds of ublk-linear, to be measured beside this one (AGAINST=old=/some/where/ublk-linear).
BENCH    ?=
KUBLK    ?=
AGAINST  ?=
BENCHKERNEL ?= 7
# ICOUNT=1: time is the number of instructions, which other work on the machine does not disturb; several times as slow.
ICOUNT   ?=
BENCHCPUS ?= 2
# NVMe disks of the guest: QEMU's defaults, and 4Kn with small copy limits.
DRIVES  := -drive nvme:size=64M,serial=cpa -drive nvme:size=64M,lbs=4096,mssrl=16,mcl=40,msrc=3,serial=cpb \
           -drive nvme:size=64M,mssrl=8192,mcl=8192,msrc=3,bps=1M,serial=cpt
# Of bench-device, for copies (tests/cmd/devbench/copynvme.go): up to 4 MiB a command.
COPYDRIVES := $(foreach s,bca bcb,-drive nvme:size=256M,mssrl=8192,mcl=8192,msrc=127,serial=$(s))

# Where make install puts things; DESTDIR goes before all of it.
PREFIX  ?= /usr/local
UNITDIR ?= $(PREFIX)/lib/systemd/system

.PHONY: all build install demo test test-unit test-race fuzz e2e lint bench bench-device bench-profile bench-check bench-commit soak prepare clean

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/ublk-linear ./cmd/ublk-linear

# The program and its unit; docs/running.md goes on from there.
install: build
	install -D -m 0755 $(BIN)/ublk-linear $(DESTDIR)$(PREFIX)/bin/ublk-linear
	install -d -m 0755 $(DESTDIR)$(UNITDIR)
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' 'packaging/ublk-linear@.service' > $(BIN)/ublk-linear@.service
	install -m 0644 $(BIN)/ublk-linear@.service $(DESTDIR)$(UNITDIR)/ublk-linear@.service

# Programs and kernels. Nothing is fetched when all is there.
prepare:
	$(VMRUN) -prepare -kernel $(KERNEL) -need gcc=build-essential

demo: build
	./examples/demo.sh

test: prepare lint test-unit test-race fuzz
	$(MAKE) e2e $(if $(filter all,$(KERNEL)),SAMPLE=1)
	@echo "make test: all passed"

test-unit:
	$(GO) test ./...

test-race:
	CGO_ENABLED=1 $(GO) test -race ./...

# Every fuzz target for FUZZ, one after the other: go test takes one at a time. A count of executions, since a time that ends
# may be reported as a failure before Go 1.27 (golang.org/issue/75804). The minimizer is kept short, since it may eat it all.
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
	  dir=$$($(GO) list -f '{{.Dir}}' $$pkg); \
	  for f in $$(grep -hos '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | sed 's/^func //'); do \
	    echo "$$pkg $$f $(FUZZ)"; \
	    $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZ) -fuzzminimizetime 10x $$pkg; \
	  done; \
	done

# On all kernels with SAMPLE, a test of what is not of the kernel runs on one of them.
e2e: build
	CGO_ENABLED=0 $(GO) test -c -o $(BIN)/e2e.test ./tests/e2e
	$(VMRUN) -kernel $(KERNEL) -timeout 60m -results $(RESULTS) $(if $(SAMPLE),-env UBLK_LINEAR_SAMPLE=1) -file $(BIN)/ublk-linear -file packaging/ublk-linear@.service -file remap/testdata/dm-vectors.txt $(DRIVES) \
	  -- $(BIN)/e2e.test -test.v -test.timeout 59m -test.run '$(RUN)'

lint:
	@bad=$$(gofmt -l .); if [ -n "$$bad" ]; then echo "gofmt: $$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	$(GO) test ./tests/house

bench: build
	$(GO) test -run '^$$' -bench . -benchmem ./remap ./target/... ./ublk/...
	$(GO) test -run '^$$' -bench . -benchtime 1x ./copy
	$(VMRUN) -prepare -kernel $(KERNEL) -need qemu-img=qemu-utils
	$(GO) run ./tests/cmd/copybench -tool $(BIN)/ublk-linear -dir $(BENCHDIR)
	$(MAKE) bench-device

# Devices end to end, in the VM: docs/performance.md. Leaves bin/bench/bench.json; bench-commit puts it into the page.
bench-device: build
	CGO_ENABLED=0 $(GO) build -o $(BIN)/devbench ./tests/cmd/devbench
	$(VMRUN) -kernel $(BENCHKERNEL) -cpus $(BENCHCPUS) -need qemu-img=qemu-utils $(if $(ICOUNT),,$(COPYDRIVES)) $(if $(ICOUNT),-icount -timeout 4h,-timeout 60m) -results $(BIN)/bench -file $(BIN)/ublk-linear $(if $(KUBLK),-file $(KUBLK)) $(foreach a,$(AGAINST),-file $(lastword $(subst =, ,$(a)))) \
	  -- $(BIN)/devbench $(if $(ICOUNT),-icount -rounds 3 -time 100ms) $(BENCH) -tool ublk-linear=/run/results/ublk-linear $(if $(KUBLK),-kublk /run/results/$(notdir $(KUBLK))) \
	  $(foreach a,$(AGAINST),-tool $(firstword $(subst =, ,$(a)))=/run/results/$(notdir $(lastword $(subst =, ,$(a)))))
	$(GO) run ./tests/cmd/benchreport -fresh $(BIN)/bench/bench.json

# Instructions of a request by function, ours beside KUBLK's and other builds': docs/performance.md. BENCH is flags of insnprof
# (BENCH='-scheduler none -top 15 -differ', '-jobs 1,2'). Leaves bin/profile/profile.json.
bench-profile: build
	$(GO) run ./tests/cmd/insnprof -kernel $(BENCHKERNEL) -cpus $(BENCHCPUS) $(BENCH) -tool ublk-linear=$(BIN)/ublk-linear $(foreach a,$(AGAINST),-tool $(a)) $(if $(KUBLK),-kublk $(KUBLK))

bench-commit:
	$(GO) run ./tests/cmd/benchreport -write $(BIN)/bench/bench.json

# Instructions, allocations and commands against tests/bench/counts.json. No times: it fails on any machine or on none.
bench-check:
	$(GO) run ./tests/cmd/benchcheck

# The long form of what make test samples. Hours are fine.
soak: build
	CGO_ENABLED=0 $(GO) test -c -o $(BIN)/e2e.test ./tests/e2e
	$(VMRUN) -kernel $(KERNEL) -timeout 3h -results $(BIN)/soak -env UBLK_LINEAR_SOAK=$(SOAK) -file $(BIN)/ublk-linear -file packaging/ublk-linear@.service -file remap/testdata/dm-vectors.txt $(DRIVES) \
	  -- $(BIN)/e2e.test -test.v -test.timeout 170m -test.run '$(RUN)'

clean:
	rm -rf $(BIN)
