package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager is a systemd of its own: the first process of a PID namespace, with its own /run, cgroups and units. It shares
// devices and all other files with the test.
type manager struct {
	t   testing.TB
	pid int // its number for the test
}

// unitFile is the unit beside the test's program; `make e2e` puts it there.
const unitFile = "ublk-linear@.service"

// enter is what the first process of the namespaces does before it becomes systemd: the unit and the program lie where
// `make install` puts them, no other unit is wanted, and none is generated.
const enter = `
mount -t proc proc /proc
umount /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for d in /usr/local/bin /etc/systemd/system /usr/lib/systemd/system-generators; do mkdir -p $d; mount -t tmpfs -o mode=755 tmpfs $d; done
cp "$1" /usr/local/bin/ublk-linear
cp "$2" /etc/systemd/system/
printf '[Unit]\nDescription=Nothing\nDefaultDependencies=no\n' > /etc/systemd/system/nothing.target
mount -t tmpfs -o mode=755 tmpfs /run
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=other \
	/usr/lib/systemd/systemd --system --unit=nothing.target --show-status=no --log-target=kmsg --log-level=notice
`

// startManager starts a systemd, which ends with the test.
func startManager(t testing.TB) *manager {
	t.Helper()
	program, err := exec.LookPath("ublk-linear")
	if err != nil {
		t.Fatal(err)
	}
	unit, err := filepath.Abs(unitFile)
	if err == nil {
		_, err = os.Stat(unit)
	}
	if err != nil {
		t.Fatalf("the unit: %v", err)
	}
	const group = "/sys/fs/cgroup/systemd-test" // in it, this is all of the hierarchy
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	said := &lockedBuffer{}
	cmd := exec.Command("sh", "-c", `echo $$ > "$0"/cgroup.procs && exec unshare --mount --pid --fork --kill-child=KILL --uts --ipc --cgroup sh -ec "$1" sh "$2" "$3"`, group, enter, program, unit)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m, ended := &manager{t: t}, make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // and with it, its child, and with that all of the namespace
		<-ended
		within(t, "the namespace's processes end", func() bool { return removeGroups(group) == nil })
		if t.Failed() {
			t.Log(said)
		}
	})
	if !within(t, "systemd answers", func() bool {
		select {
		case <-ended:
			t.Fatal("systemd has ended")
		default:
		}
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if m.pid, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
			return false
		}
		out, err := m.command("systemctl", "is-active", "nothing.target").Output()
		return err == nil && string(out) == "active\n"
	}) {
		t.FailNow()
	}
	return m
}

// removeGroups removes a cgroup and all in it, which have no processes any more.
func removeGroups(dir string) error {
	sub, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, d := range sub {
		if d.IsDir() {
			if err := removeGroups(filepath.Join(dir, d.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}

// command is one in the manager's namespaces.
func (m *manager) command(words ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(m.pid), "-m", "-p", "-C", "--"}, words...)...)
}

// run runs one, which must end well.
func (m *manager) run(words ...string) string {
	m.t.Helper()
	out, err := m.command(words...).CombinedOutput()
	if err != nil {
		state, _ := m.command("systemctl", "--no-pager", "status", "ublk-linear@*").CombinedOutput()
		m.t.Fatalf("%s: %v\n%s\n%s", strings.Join(words, " "), err, out, state)
	}
	return string(out)
}

// show is what systemd says of a unit.
func (m *manager) show(unit string) map[string]string {
	m.t.Helper()
	out := map[string]string{}
	for l := range strings.Lines(m.run("systemctl", "show", "-p", "ActiveState,SubState,MainPID,NRestarts,Result,ExecMainStatus", unit)) {
		k, v, _ := strings.Cut(strings.TrimSpace(l), "=")
		out[k] = v
	}
	return out
}

// systemd starts the unit, starts a server that was killed again while its device is mounted and written to, reloads, and
// stops; and does not start again what has an invalid file.
func TestSystemd(t *testing.T) {
	anyKernel(t)
	cleared(t)
	a, b := nullBlk(t, 200, withCache), nullBlk(t, 200)
	const etc, unit = "/etc/ublk-linear", "ublk-linear@volumes.service"
	if err := os.Mkdir(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(etc) })
	put := func(name, toml string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(etc, name+".toml"), []byte(toml), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("volumes", pathDisks(a, b)+tableDevice("data", "0 400000 linear a 64"))
	put("wrong", "version = 1\n[device.data]\ntable = \"0 8 linear nosuch 0\"\n")
	begun := time.Now()
	m := startManager(t)
	t.Logf("systemd is there after %v", time.Since(begun).Round(time.Millisecond))

	begun = time.Now()
	m.run("systemctl", "start", unit)
	t.Logf("started in %v", time.Since(begun).Round(time.Millisecond))
	node, err := filepath.EvalSymlinks("/dev/ublk-linear/data") // at once: the unit is not up before its devices are
	if err != nil {
		t.Fatal(err)
	}
	first := m.show(unit)
	if first["ActiveState"] != "active" || first["SubState"] != "running" || first["NRestarts"] != "0" {
		t.Errorf("%v", first)
	}
	if out := m.run("ublk-linear", "status", "data", "-c", etc+"/volumes.toml"); !strings.Contains(out, "I/O flusher, memory locked") || !strings.Contains(out, "OOM score -1000") {
		t.Errorf("the unit takes something away:\n%s", out)
	}

	dir, seed := filepath.Join(t.TempDir(), "m"), rand.Uint64()
	sh(t, "mkfs.ext4", "-q", "-F", node)
	unmount := mount(t, node, dir, "ext4")
	written := make(chan struct{})
	go func() {
		defer close(written)
		writeTree(t, dir, seed, 8) // and a large file
		unix.Sync()
	}()
	time.Sleep(300 * time.Millisecond)
	begun = time.Now()
	m.run("kill", "-KILL", first["MainPID"])
	var second map[string]string
	within(t, "systemd has started it again", func() bool {
		second = m.show(unit)
		return second["NRestarts"] == "1" && second["ActiveState"] == "active"
	})
	t.Logf("there again %v after the kill", time.Since(begun).Round(time.Millisecond))
	if second["MainPID"] == first["MainPID"] {
		t.Errorf("%v, and was %v", second, first)
	}
	select {
	case <-written:
	case <-time.After(hang):
		t.Fatal("the file system hangs")
	}
	if again, err := filepath.EvalSymlinks("/dev/ublk-linear/data"); err != nil || again != node {
		t.Errorf("%s became %s (%v)", node, again, err)
	}

	put("volumes", pathDisks(a, b)+tableDevice("data", "0 100000 linear a 64\n100000 300000 striped 1 24 a 100064")+tableDevice("more", "0 8192 linear b 0"))
	m.run("systemctl", "reload", unit)
	if out := m.run("ublk-linear", "status", "data", "-c", etc+"/volumes.toml"); !strings.Contains(out, "100000 300000 striped 1 24 a 100064") {
		t.Errorf("reloaded, and the table is\n%s", out)
	}
	if _, err := os.Stat("/dev/ublk-linear/more"); err != nil {
		t.Error(err)
	}
	unmount()
	unmount = mount(t, node, dir, "ext4")
	files, size := checkTree(t, dir, seed)
	unmount()
	sh(t, "e2fsck", "-fn", node)
	t.Logf("%d files, %d MiB the same", files, size>>20)

	put("volumes", "version = ")
	if out, err := m.command("systemctl", "reload", unit).CombinedOutput(); err == nil {
		t.Errorf("an invalid file is reloaded\n%s", out)
	}
	if now := m.show(unit); now["ActiveState"] != "active" || now["MainPID"] != second["MainPID"] {
		t.Errorf("behind a reload that failed: %v", now)
	}
	m.run("systemctl", "stop", unit)
	if end := m.show(unit); end["ActiveState"] != "inactive" || end["Result"] != "success" || end["ExecMainStatus"] != "0" {
		t.Errorf("stopped: %v", end)
	}
	nothingLeft(t, a, b)

	if err := m.command("systemctl", "start", "ublk-linear@wrong").Run(); err == nil {
		t.Error("an invalid file is served")
	}
	if end := m.show("ublk-linear@wrong"); end["ActiveState"] != "failed" || end["ExecMainStatus"] != "3" || end["NRestarts"] != "0" {
		t.Errorf("an invalid file: %v", end)
	}
}
