package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ublk-go/ublk-linear/daemon"
)

const (
	nobody    = 65534
	diskGroup = 6
)

// hogSocket makes the test program open connections that say nothing, and keep them.
const hogSocket = "UBLK_LINEAR_HOG"

func init() {
	path := os.Getenv(hogSocket)
	if path == "" {
		return
	}
	var conns []net.Conn
	for range 100 {
		c, err := net.Dial("unix", path)
		if err != nil {
			fmt.Println("cannot connect:", err)
			os.Exit(1)
		}
		conns = append(conns, c)
	}
	fmt.Println(len(conns))
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// as is a command of a user without rights, in the groups.
func as(groups []uint32, words ...string) *exec.Cmd {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: groups}, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func socketOf(t *testing.T, file string) string {
	t.Helper()
	inst, err := daemon.NewInstance(file, "")
	if err != nil {
		t.Fatal(err)
	}
	return inst.Socket()
}

// Who may what by the control socket: its mode says it, and where the mode is changed the peer's credentials do.
func TestAccess(t *testing.T) {
	anyKernel(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	file := writeConfig(t, lifeConfig(a, b))
	run := func(groups []uint32, want int, says string, words ...string) {
		t.Helper()
		out, err := as(groups, append([]string{"ublk-linear"}, append(words, "-c", file)...)...).CombinedOutput()
		if exitStatus(err) != want || !strings.Contains(string(out), says) {
			t.Errorf("%q in %v: %v, want %d and %q\n%s", words, groups, err, want, says, out)
		}
	}
	mode := func(want os.FileMode) {
		t.Helper()
		if i, err := os.Stat(socketOf(t, file)); err != nil || i.Mode().Perm() != want {
			t.Errorf("mode of the socket: %v %v", i.Mode(), err)
		}
	}

	s := upBy(t, file, nil, "ublk-linear", "up")
	mode(0o600)
	run([]uint32{diskGroup}, 1, "permission denied", "status", "life")
	for path, m := range map[string]os.FileMode{"/run/ublk-linear": 0o777, socketOf(t, file): 0o666} {
		if err := os.Chmod(path, m); err != nil {
			t.Fatal(err)
		}
	}
	run([]uint32{diskGroup}, 1, "user 65534 may not use the control socket", "status", "life")
	run(nil, 1, "user 65534 may not use the control socket", "down")
	s.down()

	s = upBy(t, file, nil, "ublk-linear", "up", "--group", "disk")
	mode(0o660)
	run([]uint32{100, diskGroup}, 0, "served by process", "status", "life")
	run([]uint32{diskGroup}, 1, "only root may POST", "down")
	run([]uint32{diskGroup}, 1, "only root may POST", "down", "--force")
	run([]uint32{100}, 1, "permission denied", "status", "life")
	if err := os.Chmod(socketOf(t, file), 0o666); err != nil {
		t.Fatal(err)
	}
	run([]uint32{100}, 1, "user 65534 may not use the control socket", "status", "life")
	if _, err := client(t, file).Status(t.Context(), "life"); err != nil {
		t.Error(err)
	}
	s.down()
	nothingLeft(t, a, b)
	if out, err := exec.Command("ublk-linear", "up", "-c", file, "--group", "nosuch").CombinedOutput(); exitStatus(err) != 5 {
		t.Errorf("a group that is not there: %v\n%s", err, out)
	}
}

// Connections that say nothing, or little, take no more than their share, and not for long: a member of the group cannot
// keep root's commands out.
func TestAccessSlow(t *testing.T) {
	anyKernel(t)
	a, b := nullBlk(t, 64), nullBlk(t, 64)
	file := writeConfig(t, lifeConfig(a, b))
	upBy(t, file, nil, "ublk-linear", "up", "--group", "disk")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/run/e2e/hog", program, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove("/run/e2e/hog")
	hog := as([]uint32{diskGroup}, "/run/e2e/hog")
	hog.Env = append(os.Environ(), hogSocket+"="+socketOf(t, file))
	end, err := hog.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := hog.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hog.Start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	if _, err := fmt.Fscan(out, &n); err != nil || n != 100 {
		t.Errorf("%d connections: %v", n, err)
	}
	if _, err := client(t, file).Status(t.Context(), "life"); err != nil {
		t.Error("meanwhile:", err)
	}
	end.Close()
	_ = hog.Wait()

	// Root's own, byte by byte: the server ends them, since no header comes.
	start := time.Now()
	var conns []net.Conn
	for range 64 {
		c, err := net.Dial("unix", socketOf(t, file))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			for _, c := range conns {
				_, _ = c.Write([]byte("G"))
			}
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	if !within(t, "room for a call", func() bool {
		_, err := client(t, file).Status(t.Context(), "life")
		return err == nil
	}) {
		return
	}
	t.Logf("room after %v", time.Since(start).Round(time.Millisecond))
}
