package uapi

import "testing"

// The numbers as a C compiler prints them from include/uapi/linux/ublk_cmd.h and blkdev.h.
func TestCommandNumbers(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uint32
	}{
		{"GET_QUEUE_AFFINITY", UBLK_U_CMD_GET_QUEUE_AFFINITY, 0x80207501},
		{"GET_DEV_INFO", UBLK_U_CMD_GET_DEV_INFO, 0x80207502},
		{"ADD_DEV", UBLK_U_CMD_ADD_DEV, 0xC0207504},
		{"DEL_DEV", UBLK_U_CMD_DEL_DEV, 0xC0207505},
		{"START_DEV", UBLK_U_CMD_START_DEV, 0xC0207506},
		{"STOP_DEV", UBLK_U_CMD_STOP_DEV, 0xC0207507},
		{"SET_PARAMS", UBLK_U_CMD_SET_PARAMS, 0xC0207508},
		{"GET_PARAMS", UBLK_U_CMD_GET_PARAMS, 0x80207509},
		{"GET_FEATURES", UBLK_U_CMD_GET_FEATURES, 0x80207513},
		{"DEL_DEV_ASYNC", UBLK_U_CMD_DEL_DEV_ASYNC, 0x80207514},
		{"TRY_STOP_DEV", UBLK_U_CMD_TRY_STOP_DEV, 0xC0207517},
		{"FETCH_REQ", UBLK_U_IO_FETCH_REQ, 0xC0107520},
		{"COMMIT_AND_FETCH_REQ", UBLK_U_IO_COMMIT_AND_FETCH_REQ, 0xC0107521},
		{"BLOCK_URING_CMD_DISCARD", BLOCK_URING_CMD_DISCARD, 0x1200},
	} {
		if c.got != c.want {
			t.Errorf("%s = %#x, want %#x", c.name, c.got, c.want)
		}
	}
}
