// Uses session keys as a Go program would, with the AWS SDK: keys and places as JSON on stdin, nothing on stdout if all is
// as it should be.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

type input struct {
	Endpoint        string `json:"endpoint"`
	Bucket          string `json:"bucket"`
	AccessKeyID     string `json:"access_key_id"`
	SecretAccessKey string `json:"secret_access_key"`
	SessionToken    string `json:"session_token"`
	// The user's home, and prefixes that are not theirs.
	Home   string   `json:"home"`
	Others []string `json:"others"`
}

func main() {
	if err := run(context.Background(), os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stdin io.Reader) error {
	var in input
	if err := json.NewDecoder(stdin).Decode(&in); err != nil {
		return err
	}
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(in.Endpoint),
		Region:       "us-east-1",
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(in.AccessKeyID, in.SecretAccessKey, in.SessionToken),
	})
	if err := useOwn(ctx, client, in.Bucket, in.Home); err != nil {
		return err
	}
	for _, other := range in.Others {
		if err := isRefused(ctx, client, in.Bucket, other); err != nil {
			return err
		}
	}
	return nil
}

// useOwn writes, reads, lists and deletes, a multipart upload included.
func useOwn(ctx context.Context, client *s3.Client, bucket, home string) error {
	key, body := home+"table/part-0", bytes.Repeat([]byte("x"), 5<<20)
	if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)}); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	large := home + "table/part-1"
	if err := uploadInParts(ctx, client, bucket, large, body); err != nil {
		return fmt.Errorf("upload in parts: %w", err)
	}
	got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &large})
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	defer got.Body.Close()
	if read, err := io.ReadAll(got.Body); err != nil || len(read) != 2*len(body) {
		return fmt.Errorf("get: %d bytes came back, and %v", len(read), err)
	}
	listed, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String(home + "table/")})
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	var found []types.ObjectIdentifier
	for _, object := range listed.Contents {
		found = append(found, types.ObjectIdentifier{Key: object.Key})
	}
	if len(found) != 2 {
		return fmt.Errorf("list: %d objects instead of 2", len(found))
	}
	deleted, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: found}})
	if err != nil || len(deleted.Errors) > 0 {
		return fmt.Errorf("delete: %w, %v", err, deleted)
	}
	return nil
}

func uploadInParts(ctx context.Context, client *s3.Client, bucket, key string, part []byte) error {
	upload, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	var parts []types.CompletedPart
	for n := int32(1); n <= 2; n++ {
		sent, err := client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &bucket, Key: &key, UploadId: upload.UploadId, PartNumber: &n, Body: bytes.NewReader(part),
		})
		if err != nil {
			return err
		}
		parts = append(parts, types.CompletedPart{ETag: sent.ETag, PartNumber: aws.Int32(n)})
	}
	_, err = client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &bucket, Key: &key, UploadId: upload.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return err
}

// isRefused wants every way into a prefix to be refused as AWS spells it.
func isRefused(ctx context.Context, client *s3.Client, bucket, prefix string) error {
	key := prefix + "seed"
	_, get := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	_, put := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(nil)})
	_, list := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for what, err := range map[string]error{"get": get, "put": put, "list": list} {
		var refusal smithy.APIError
		if !errors.As(err, &refusal) || refusal.ErrorCode() != "AccessDenied" {
			return fmt.Errorf("%s in %s: AccessDenied was to be expected, and not: %v", what, prefix, err)
		}
	}
	return nil
}
