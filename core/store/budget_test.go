package store

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudgetServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, time.Second)
		ctx := context.Background()
		if err := b.Take(ctx, 100); err != nil {
			t.Fatal(err)
		}
		order := make(chan int64, 2)
		take := func(n int64) {
			if err := b.Take(ctx, n); err != nil {
				t.Error(err)
			}
			order <- n
		}
		go take(60)
		synctest.Wait()
		go take(10)
		synctest.Wait()
		b.Give(50)
		synctest.Wait()
		if len(order) != 0 {
			t.Error("a later, smaller claim passed an earlier one")
		}
		b.Give(20)
		synctest.Wait()
		if first, second := <-order, <-order; first+second != 70 || b.Free() != 0 {
			t.Errorf("served %d, %d; %d free", first, second, b.Free())
		}
	})
}

func TestBudgetPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, time.Second)
		start := time.Now()
		if err := b.Take(context.Background(), 101); !errors.Is(err, ErrBusy) {
			t.Errorf("more than there is: %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("it waited %v", d)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if err := b.Take(ctx, 101); !errors.Is(err, ErrBusy) || time.Since(start) > time.Second+time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if b.Free() != 100 {
			t.Errorf("%d free after failures", b.Free())
		}
	})
}

func TestBudgetServesThoseBehindOneThatGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, time.Hour)
		ctx, cancel := context.WithCancel(context.Background())
		go b.Take(ctx, 101)
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- b.Take(context.Background(), 100) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("the claim behind still waits")
			b.Give(1000)
		}
	})
}
