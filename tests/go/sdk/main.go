// Uses the lake as a Go program would that was told nothing but its environment: the AWS SDK's default configuration finds
// the credentials. The bucket and the user's home are arguments; the access key id that was used is on stdout.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bucket, home string) error {
	loaded, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	client := s3.NewFromConfig(loaded, func(options *s3.Options) { options.UsePathStyle = true })
	key := home + "by-the-sdk"
	put := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("hello")}
	if _, err := client.PutObject(ctx, put); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	defer got.Body.Close()
	if read, err := io.ReadAll(got.Body); err != nil || string(read) != "hello" {
		return fmt.Errorf("get: %q came back, and %v", read, err)
	}
	used, err := loaded.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	fmt.Print(used.AccessKeyID)
	return nil
}
