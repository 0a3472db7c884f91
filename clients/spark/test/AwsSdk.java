import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.S3Exception;
import software.amazon.awssdk.services.sts.StsClient;

/** A program as any other that uses AWS's SDK: of Lakepass it knows nothing. Arguments: a bucket, one's own key, another's. */
public final class AwsSdk {
  public static void main(String[] arguments) {
    String bucket = arguments[0];
    try (S3Client s3 = S3Client.builder().forcePathStyle(true).build(); StsClient sts = StsClient.create()) {
      System.out.println(sts.getCallerIdentity().arn());
      s3.putObject(put -> put.bucket(bucket).key(arguments[1]), RequestBody.fromString("hello"));
      System.out.println(s3.getObjectAsBytes(get -> get.bucket(bucket).key(arguments[1])).asUtf8String());
      try {
        s3.putObject(put -> put.bucket(bucket).key(arguments[2]), RequestBody.fromString("intruder"));
      } catch (S3Exception e) {
        System.out.println(e.awsErrorDetails().errorCode());
      }
    }
  }
}
