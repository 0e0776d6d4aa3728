package blkcopy

// climb finds how many commands at a time a disk has use for, by what it does with them: more, as long as that moves
// distinctly more in the same time; fewer, as long as that moves hardly less, since what waits inside a disk keeps others'
// I/O waiting too. It is arithmetic only, over epochs in each of which one number was tried.
type climb struct {
	limit int     // commands at a time, of this epoch
	best  int     // of those tried
	peak  float64 // what the best has moved, per time
	down  bool    // fewer are being tried, or were tried last
	rest  int     // epochs until others are tried again
}

const (
	maxClimb    = 32   // each command holds a thread
	worthMore   = 1.15 // of the peak, for twice as many
	worthFewer  = 0.95 // of the peak, for half as many
	restEpochs  = 64
	epochRounds = 8  // an epoch is so many completions for each command at a time,
	minEpoch    = 64 // and no fewer than these
)

func newClimb(limit int) climb { return climb{limit: limit, best: limit} }

// length is how many completions an epoch has.
func (c *climb) length() int { return max(minEpoch, epochRounds*c.limit) }

// epoch takes what an epoch has moved per time, and sets the limit of the next.
func (c *climb) epoch(rate float64) {
	switch {
	case c.limit == c.best: // measured again, since disks change
		c.peak = rate
		if c.rest > 0 {
			c.rest--
			return
		}
		c.down = false
	case c.limit > c.best && rate >= worthMore*c.peak:
		c.best, c.peak = c.limit, rate
	case c.limit > c.best:
		c.down = true
	case rate >= worthFewer*c.peak: // of the same peak, or it would go down by small steps for ever
		c.best = c.limit
	default:
		c.settle()
		return
	}
	c.next()
}

// failed is a command that moved nothing. While more than ever are being tried, it may have been one too many.
func (c *climb) failed() {
	if c.limit > c.best {
		c.down = true
		c.next()
	}
}

// next tries another number, or none when both ends are reached.
func (c *climb) next() {
	if !c.down {
		if c.limit = min(2*c.best, maxClimb); c.limit > c.best {
			return
		}
		c.down = true
	}
	if c.limit = max(c.best/2, 1); c.limit == c.best {
		c.settle()
	}
}

func (c *climb) settle() { c.limit, c.rest = c.best, restEpochs }
